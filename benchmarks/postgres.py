"""Kafka → PostgreSQL on real servers: FlowGuard's consumer, the raw limit and the peers, each a process of its own.

Everybody has the same backlog, and a fresh, empty table of the same definition. The server notes when each
transaction was committed: starting, joining the group and the first commits count for nobody.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from time import monotonic, sleep

import psycopg

from benchmarks import postgres_growth, postgres_latency
from benchmarks.core import CLICKS
from benchmarks.postgres_place import Place, fill, flowguard, peers, place
from benchmarks.report import Line
from flowguard.adapters.postgres.tables import table_of
from flowguard.settings import Settings

_BATCH = Settings().batch.max_records
_START_S = 60.0
_AT_MOST_S = 20.0
"""A slow one need not land everything: its rate is told by what it has landed by then."""
_TABLE = table_of(CLICKS).name
_COMMITS = f"""
    SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8, count(*) FROM {_TABLE} GROUP BY xmin ORDER BY 1
"""

Contestant = Callable[[str], tuple[Sequence[str], Mapping[str, str]]]
"""Given the URL of its database: its command and environment."""


def _contestants(at: Place, rows: str) -> dict[str, Contestant]:
    python = peers()

    def raw(form: str) -> Contestant:
        module = [sys.executable, "-m", "benchmarks.postgres_raw", at.kafka_url]
        return lambda url: ([*module, CLICKS.topic, url, group(), str(_BATCH), rows, form], {})

    def peer(name: str, batch: int = _BATCH) -> Contestant:
        module = [python, "-m", f"benchmarks.peers.{name}", at.kafka.bootstrap]
        return lambda url: ([*module, CLICKS.topic, url, group(), str(batch)], {})

    def group() -> str:
        return f"bench-{next(at.numbers)}"

    return {
        "FlowGuard": flowguard_consumer(at),
        "raw binary": raw("binary"),
        "raw text": raw("text"),
        "Quix": peer("quix", CLICKS.partitions * _BATCH),
        "FastStream": peer("faststream_batches"),
        "row by row": peer("row_by_row"),
    }


def flowguard_consumer(at: Place) -> Contestant:
    return lambda url: (flowguard("consume"), at.settings(url))


def landing_rate(at: Place, url: str, contestant: Contestant, events: int) -> float:
    """Rows a second into the database of the URL."""
    at.checkpoint()
    command, environment = contestant(url)
    with at.running(command, environment), psycopg.connect(url, autocommit=True) as connection:
        _wait(connection, events)
    with psycopg.connect(url) as connection:
        commits = connection.execute(_COMMITS).fetchall()
    return _rate(commits)


def _rate(commits: Sequence[tuple[float, int]]) -> float:
    """Rows a second, of (seconds, rows) of each transaction in order of time.

    Counted from a commit in the first third of the rows on: the one before the longest pause, since some gather for a
    while, and then commit several transactions at once.
    """
    landed = [*accumulate(rows for _, rows in commits)]
    pauses = [
        (after[0] - before[0], index)
        for index, (before, after) in enumerate(pairwise(commits))
        if not index or landed[index] <= landed[-1] / 3
    ]
    _, first = max(pauses)
    return (landed[-1] - landed[first]) / (commits[-1][0] - commits[first][0])


def _wait(connection: psycopg.Connection, events: int) -> None:
    """Until all rows are there, or enough. The size of the table is looked at, which costs nobody anything."""
    before, deadline = 0, monotonic() + _START_S
    while monotonic() < deadline:
        sleep(0.2)
        size = _one(connection, f"SELECT pg_relation_size('{_TABLE}')")
        if size and not before:
            deadline = monotonic() + _AT_MOST_S
        if size and size == before and _one(connection, f"SELECT count(*) FROM {_TABLE}") == events:
            return
        before = size
    if not before:
        raise TimeoutError(f"no row after {_START_S:.0f} s")


def _one(connection: psycopg.Connection, statement: str) -> int:
    found = connection.execute(statement).fetchone()
    assert found is not None
    return int(found[0])


def speed(at: Place, events: int, runs: int, only: Sequence[str] = ()) -> dict[str, float]:
    """The median rate of each, measured in turns, after a first run of FlowGuard's that warms up the servers."""
    fill(at.kafka, events)
    empty = at.database()
    rows = at.database(empty)
    landing_rate(at, rows, flowguard_consumer(at), events)  # its rows are what the raw loop writes
    rates: dict[str, list[float]] = {}
    contestants = _contestants(at, rows)
    for _ in range(runs):
        for name, contestant in contestants.items():
            if only and name not in only:
                continue
            url = at.database(empty)
            rate = landing_rate(at, url, contestant, events)
            at.drop(url)
            print(f"{name}: {rate:,.0f} events/s", file=sys.stderr, flush=True)
            rates.setdefault(name, []).append(rate)
    at.drop(rows)
    return {name: statistics.median(some) for name, some in rates.items()}


def run(events: int, runs: int, largest: int) -> list[Line]:
    """FlowGuard beside the limit and its peers; HTTP → row; and batches in tables of up to `largest` rows."""
    with place() as at:
        rate = speed(at, events, runs)
        latency = postgres_latency.lines(at, events, max(5_000, events // 10))
    mine, unit = rate["FlowGuard"], "events/s"
    form = max(("binary", "text"), key=lambda one: rate[f"raw {one}"])
    raw = rate[f"raw {form}"]
    return [
        Line("Kafka → PostgreSQL", unit, mine, f"`consume` + COPY of prepared rows, {form}", raw, 0.8 * raw),
        Line("... beside Quix Streams", unit, mine, "its PostgreSQLSink", rate["Quix"], 5 * rate["Quix"]),
        Line("... beside FastStream", unit, mine, "batches, executemany", rate["FastStream"]),
        Line("... beside row by row", unit, mine, "a commit for each event", rate["row by row"]),
        *latency,
        *postgres_growth.run(largest, 2 * runs),
    ]


if __name__ == "__main__":
    # For development: python -m benchmarks.postgres EVENTS RUNS [NAME ...]
    with place() as here:
        for who, median in speed(here, int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]).items():
            print(f"{who:12} {median:10,.0f}")
