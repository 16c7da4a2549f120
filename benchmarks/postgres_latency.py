"""HTTP → row: single events posted at a steady rate to a real gateway, until each is a row that others see.

The client posts each event when it is due, whatever became of the ones before, and the time counts from then: what
waits for a slow answer has waited, too. Rows become visible with the positions of their batch, in one transaction: the
positions are asked for every few milliseconds, and an event's row is there when the position of its partition has
passed its offset.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
from dataclasses import dataclass
from time import monotonic, sleep, time

import psycopg

from benchmarks.core import CLICKS
from benchmarks.postgres_place import ROOT, Place, flowguard
from benchmarks.report import Line
from flowguard.adapters.postgres.tables import table_of

_WARM_UP = 5_000
"""Events before those that count: a broker that has just started takes its time over its first thousands."""
_ASK_EVERY_S = 0.002
_COUNTED = "latency"
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Seen:
    """When the positions were asked for, and what they were: partition to next offset. In order of time."""

    at: float
    positions: dict[int, int]


def _positions(connection: psycopg.Connection) -> dict[int, int]:
    query = "SELECT partition, next_offset FROM fg_positions WHERE topic = %s AND next_offset IS NOT NULL"
    return dict(connection.execute(query, [CLICKS.topic]).fetchall())


def _watch(url: str, events: int, client: subprocess.Popen[bytes]) -> list[Seen]:
    seen: list[Seen] = []
    deadline = monotonic() + _PATIENCE_S + events / 500
    with psycopg.connect(url, autocommit=True) as connection:
        while sum(seen[-1].positions.values()) < events if seen else True:
            found, now = _positions(connection), time()
            if not seen or seen[-1].positions != found:
                seen.append(Seen(now, found))
            if client.poll() or monotonic() > deadline:
                raise TimeoutError(f"{sum(seen[-1].positions.values())} of {events} events became rows")
            sleep(_ASK_EVERY_S)
    return seen


def _post(url: str, port: int, name: str, events: int, until: int, rate: float) -> tuple[float, list[Seen]]:
    """When the first one was due, and what was seen until so many rows were there."""
    command = [sys.executable, "-m", "benchmarks.steady_posts", str(port), name, str(events), str(rate)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        start = float(client.stdout.readline())
        return start, _watch(url, until, client)


def _latencies(url: str, seen: list[Seen], start: float, rate: float) -> list[float]:
    """Seconds, of each event that counts."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT split_part(event_id, '-', 2)::int, source_partition, source_offset"
            f" FROM {table_of(CLICKS).name} WHERE event_id LIKE '{_COUNTED}-%' ORDER BY source_partition, source_offset"
        ).fetchall()
    latencies = []
    looks = {partition: iter(seen) for _, partition, _ in rows}
    look = {partition: next(one) for partition, one in looks.items()}
    for number, partition, offset in rows:
        while look[partition].positions.get(partition, 0) <= offset:
            look[partition] = next(looks[partition])
        latencies.append(look[partition].at - (start + number / rate))
    return latencies


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _until_up(port: int) -> None:
    deadline = monotonic() + _PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if monotonic() > deadline:
                raise TimeoutError("the gateway did not start") from None
            sleep(0.05)


def _until_landed(url: str, backlog: int) -> None:
    deadline = monotonic() + _PATIENCE_S
    with psycopg.connect(url, autocommit=True) as connection:
        while (landed := sum(_positions(connection).values())) < backlog:
            if monotonic() > deadline:
                raise TimeoutError(f"{landed} of {backlog} events became rows")
            sleep(0.05)


def latencies(at: Place, backlog: int, events: int, rate: float, max_age_s: float) -> list[float]:
    """Seconds from when each event was due to be posted until its row is visible. The topic holds `backlog` events."""
    url, port = at.database(), _free_port()
    settings = at.settings(url) | {"FLOWGUARD_BATCH__MAX_AGE_S": str(max_age_s)}
    with (
        at.running(flowguard("gateway", "--port", str(port)), settings),
        at.running(flowguard("consume"), settings),
    ):
        _until_up(port)
        _until_landed(url, backlog)
        _post(url, port, "warm", _WARM_UP, backlog + _WARM_UP, rate)
        start, seen = _post(url, port, _COUNTED, events, backlog + _WARM_UP + events, rate)
    return _latencies(url, seen, start, rate)


def lines(at: Place, backlog: int, events: int, *, rate: float = 1_000.0, max_age_s: float = 0.05) -> list[Line]:
    """p50 and p99."""
    found = statistics.quantiles(latencies(at, backlog, events, rate, max_age_s), n=100)
    what = f"HTTP → row at {rate:,.0f} events/s, one a request, batch.max_age_s {max_age_s}"
    return [
        Line(f"{what}: p99", "ms", 1_000 * found[98], goal=250, lower_is_better=True),
        Line("... p50", "ms", 1_000 * found[49]),
    ]
