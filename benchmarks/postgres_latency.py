"""HTTP → row: events posted at a steady rate to a real gateway, until each is a row that others see.

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
from collections.abc import Sequence
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
_MAX_AGE_S = 0.05
"""Of a batch, in the consumer: the default, 0.25, is as much as the goal."""
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Load:
    """Events a second, and events a request."""

    rate: float
    size: int


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


def _post(url: str, port: int, name: str, events: int, until: int, load: Load) -> tuple[float, list[Seen]]:
    """When the first one was due, and what was seen until so many rows were there."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.steady_posts",
        str(port),
        name,
        str(events),
        str(load.rate),
        str(load.size),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        start = float(client.stdout.readline())
        return start, _watch(url, until, client)


def _latencies(url: str, name: str, seen: list[Seen], start: float, load: Load) -> list[float]:
    """Seconds, of each event that counts."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT split_part(event_id, '-', 2)::int, source_partition, source_offset"
            f" FROM {table_of(CLICKS).name} WHERE event_id LIKE %s ORDER BY source_partition, source_offset",
            [f"{name}-%"],
        ).fetchall()
    latencies = []
    looks = {partition: iter(seen) for _, partition, _ in rows}
    look = {partition: next(one) for partition, one in looks.items()}
    for number, partition, offset in rows:
        while look[partition].positions.get(partition, 0) <= offset:
            look[partition] = next(looks[partition])
        latencies.append(look[partition].at - (start + number // load.size * load.size / load.rate))
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


def latencies(at: Place, backlog: int, events: int, loads: Sequence[Load]) -> list[list[float]]:
    """Seconds from when each event was due to be posted until its row is visible, one list a load.

    The topic holds `backlog` events.
    """
    url, port = at.database(), _free_port()
    settings = at.settings(url) | {"FLOWGUARD_BATCH__MAX_AGE_S": str(_MAX_AGE_S)}
    found = []
    with (
        at.running(flowguard("gateway", "--port", str(port)), settings),
        at.running(flowguard("consume"), settings),
    ):
        _until_up(port)
        _until_landed(url, backlog)
        for load in loads:
            _post(url, port, f"warm{load.size}", _WARM_UP, backlog := backlog + _WARM_UP, load)
            name = f"latency{load.size}"
            start, seen = _post(url, port, name, events, backlog := backlog + events, load)
            found.append(_latencies(url, name, seen, start, load))
    return found


def lines(at: Place, backlog: int, events: int, rate: float = 1_000.0) -> list[Line]:
    """p50 and p99, with ten events a request, and with one."""
    loads = [Load(rate, 10), Load(rate, 1)]
    made = []
    for load, some in zip(loads, latencies(at, backlog, events, loads), strict=True):
        centiles = statistics.quantiles(some, n=100)
        what = f"HTTP → row at {rate:,.0f} events/s, {load.size} a request"
        made.append(Line(f"{what}: p99", "ms", 1_000 * centiles[98], goal=250, lower_is_better=True))
        made.append(Line("... p50", "ms", 1_000 * centiles[49]))
    return made
