"""The embedded pipeline end to end: HTTP requests of 500 events into a running `flowguard up`, until all are rows."""

from __future__ import annotations

import http.client
import multiprocessing
import sqlite3
import statistics
import tempfile
from pathlib import Path
from queue import Queue
from threading import Thread
from time import perf_counter, sleep

from benchmarks.clicks import records, requests
from benchmarks.pipeline import Pipeline
from benchmarks.report import Line, seconds

_CONNECTIONS = 4
_SIZE = 500


def _post_all(port: int, bodies: list[bytes]) -> None:
    """A client process: a few connections, each with one request under way."""
    left: Queue[bytes] = Queue()
    for body in bodies:
        left.put(body)
    refused: list[int] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while not left.empty():
            connection.request("POST", "/v1/events/clicks", left.get(), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.ACCEPTED:
                refused.append(answer.status)
        connection.close()

    threads = [Thread(target=work) for _ in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        raise SystemExit(f"refused: {refused[:5]}")


def _landed(folder: Path) -> int:
    with sqlite3.connect(f"file:{folder / 'warehouse.db'}?mode=ro", uri=True) as rows:
        return int(rows.execute("SELECT coalesce(max(source_offset), -1) FROM clicks").fetchone()[0]) + 1


def _http_to_row(events: int) -> float:
    bodies = list(requests(events, _SIZE))
    with tempfile.TemporaryDirectory() as name, Pipeline(Path(name)) as pipeline:
        client = multiprocessing.get_context("spawn").Process(target=_post_all, args=(pipeline.port, bodies))
        start = perf_counter()
        client.start()
        while _landed(Path(name)) < events + 1:  # one was posted to see that it is up
            if client.exitcode:
                raise RuntimeError("the gateway refused a request")
            sleep(0.01)
        took = perf_counter() - start
        client.join()
    return events / took


def _raw_rows(events: int) -> float:
    """The limit: prepared rows into a table of the same definition, durably, in one thread that does nothing else."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Pipeline(folder):
            pass
        rows = sqlite3.connect(folder / "warehouse.db", isolation_level=None)
        rows.execute("PRAGMA synchronous=FULL")
        columns = [row[1] for row in rows.execute("PRAGMA table_info(clicks)")]
        template = _template(rows)
        prepared = []
        for number, value in enumerate(records(events), 1):
            row = template | {"event_id": f"raw-{number:012d}", "source_offset": number}
            row |= {"ingestion_id": f"raw.clicks.v1-0-{number}", "payload": value.decode()}
            prepared.append([row[column] for column in columns])
        insert = f"INSERT INTO clicks VALUES ({','.join('?' * len(columns))})"  # no user's text

        def write() -> None:
            for first in range(0, events, 5_000):
                rows.execute("BEGIN IMMEDIATE")
                rows.executemany(insert, prepared[first : first + 5_000])
                rows.execute("COMMIT")

        took = seconds(write)
        rows.close()
    return events / took


def _template(rows: sqlite3.Connection) -> dict[str, object]:
    cursor = rows.execute("SELECT * FROM clicks LIMIT 1")
    return dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))


def run(events: int, runs: int) -> list[Line]:
    """One line: HTTP to row."""
    return [
        Line(
            "embedded, HTTP → row, requests of 500, durable",
            "events/s",
            statistics.median(_http_to_row(events) for _ in range(runs)),
            "sqlite: prepared rows only",
            statistics.median(_raw_rows(events) for _ in range(runs)),
            20_000,
        )
    ]
