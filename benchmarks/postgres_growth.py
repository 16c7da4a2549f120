"""What a batch costs as its table grows: batches of 5,000 into tables of 100,000 to 10,000,000 rows, in turns.

Fast path: new rows at the sink's position. Slow path: rows that are there already, a stretch of the log from anywhere
in the table read again, which go by the staging table. `python -m benchmarks.postgres_growth [FILE.svg]` draws it.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from random import Random
from time import perf_counter
from urllib.parse import urlsplit

import psycopg

from benchmarks.core import CATALOG, CLICKS
from benchmarks.plot import Curve, plot
from benchmarks.report import Line
from flowguard.adapters.postgres import Part, PostgresEventSink, migrate
from flowguard.adapters.postgres.tables import table_of
from flowguard.domain.ingestion import Assignment, Claim, TopicPartition
from flowguard.domain.rows import Move, Row, Rows, SinkBatch
from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.postgres import PostgresServer

SIZES = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
_DRAWING = Path("bench-batch-cost.svg")
_BATCH = 5_000
_RUN = 500
"""Rows that follow one another in one partition."""
_WARM, _COUNTED = 2, 5
"""Batches of each kind in a turn."""
_COPIED_BELOW = 1_000_000
"""A smaller table would grow noticeably from turn to turn: each turn has a copy."""
_AT_ONCE = 250_000
_TICKS = os.sysconf("SC_CLK_TCK")
_OPTIONS = {"autovacuum": "off", "max_wal_size": "4GB"}
"""Vacuumed after it was filled; nothing runs beside the batches that are measured."""
_TIME = datetime(2026, 11, 25, tzinfo=UTC)
_START_MS = int(_TIME.timestamp() * 1_000)

# Of row number n: the same text as `_row` makes, so that it is a duplicate there.
_SQL = {
    "event_id": "substr(ms, 1, 8) || '-' || substr(ms, 9, 4) || '-7' || substr(md, 1, 3) || '-a' || substr(md, 4, 3)"
    " || '-' || substr(md, 7, 12)",
    "event_type": f"'{CLICKS.name}'",
    "schema_version": "1",
    "source_topic": f"'{CLICKS.topic}'",
    "source_incarnation": "1",
    "source_partition": "part",
    "source_offset": "at",
    "producer_service": "'bench'",
    "ingestion_id": f"'{CLICKS.topic}-' || part || '-' || at",
    "subject": "NULL",
    "occurred_at": f"'{_TIME.isoformat()}'",
    "ingested_at": f"'{_TIME.isoformat()}'",
    "payload": """('{"user_id":"user_' || n % 5000 || '","session_id":"session_' || n / 20 || '","item_id":"' || n % 300
      || '","ad_id":"food_' || n % 300
      || '","page":"/menu/today","referrer":"https://www.example.com/search?q=food"}')::json""",
    "user_id": "'user_' || n % 5000",
    "session_id": "'session_' || n / 20",
    "item_id": "(n % 300)::text",
    "ad_id": "'food_' || n % 300",
    "page": "'/menu/today'",
    "referrer": "'https://www.example.com/search?q=food'",
}


def _place_of(n: int) -> tuple[int, int]:
    """Partition and offset."""
    partitions = CLICKS.partitions
    return n // _RUN % partitions, n // (_RUN * partitions) * _RUN + n % _RUN


def _row(n: int) -> Row:
    partition, offset = _place_of(n)
    ms, md = f"{_START_MS + n // 20:012x}", hashlib.md5(str(n).encode(), usedforsecurity=False).hexdigest()
    user, session, item, ad = f"user_{n % 5000}", f"session_{n // 20}", str(n % 300), f"food_{n % 300}"
    page, referrer = "/menu/today", "https://www.example.com/search?q=food"
    payload = (
        f'{{"user_id":"{user}","session_id":"{session}","item_id":"{item}","ad_id":"{ad}",'
        f'"page":"{page}","referrer":"{referrer}"}}'
    )
    event_id = f"{ms[:8]}-{ms[8:12]}-7{md[:3]}-a{md[3:6]}-{md[6:18]}"
    place = (CLICKS.topic, 1, partition, offset)
    metadata = (event_id, CLICKS.name, 1, *place, "bench", f"{CLICKS.topic}-{partition}-{offset}", None)
    return (*metadata, _TIME, _TIME, payload, user, session, item, ad, page, referrer)


def _rows(first: int) -> tuple[Rows, ...]:
    """A batch, from row number `first` on, which begins a run."""
    return tuple(
        Rows(CLICKS, TopicPartition(CLICKS.topic, _place_of(n)[0]), 1, [row[6] for row in rows], rows)
        for n in range(first, first + _BATCH, _RUN)
        for rows in [[_row(m) for m in range(n, n + _RUN)]]
    )


def _grow(url: str, size: int) -> None:
    """Up to so many rows."""
    table = table_of(CLICKS)
    values = ", ".join(_SQL[column.name] for column in table.columns)
    parts = CLICKS.partitions
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()
        assert found is not None
        edges = [*range(found[0], size, _AT_ONCE), size]
        for first, end in pairwise(edges):
            connection.execute(
                f"""
                INSERT INTO {table.name} ({table.names}) SELECT {values} FROM (
                  SELECT n, n / {_RUN} % {parts} AS part, n / {_RUN * parts} * {_RUN} + n % {_RUN} AS at,
                    lpad(to_hex({_START_MS} + n / 20), 12, '0') AS ms, md5(n::text) AS md
                  FROM generate_series({first}, {end - 1}) AS n
                ) AS given
                """
            )
        connection.execute(f"VACUUM (FREEZE, ANALYZE) {table.name}")


@dataclass
class _Costs:
    """Milliseconds a batch: on the clock, and of the server's own processor time."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


@dataclass
class _Table:
    """One of them. `next`: number of the next new row."""

    url: str
    size: int
    next: int
    fast: _Costs = field(default_factory=_Costs)
    slow: _Costs = field(default_factory=_Costs)


@dataclass(frozen=True)
class _Backend:
    """A sink, and the server's process that serves it."""

    sink: PostgresEventSink
    claims: dict[TopicPartition, Claim]
    pid: int

    def write(self, batch: SinkBatch, costs: _Costs) -> None:
        cpu, start = self._processor_ms(), perf_counter()
        self.sink.write(batch)
        costs.wall.append(1_000 * (perf_counter() - start))
        costs.processor.append(self._processor_ms() - cpu)

    def _processor_ms(self) -> float:
        # In nanoseconds: clock ticks are too coarse for one batch.
        return int(Path(f"/proc/{self.pid}/schedstat").read_text("ascii").split()[0]) / 1e6


def _backend(server: PostgresServer, url: str) -> _Backend:
    sink = PostgresEventSink(url)
    places = [TopicPartition(CLICKS.topic, partition) for partition in range(CLICKS.partitions)]
    claims = sink.claim("bench", [Assignment(place, "bench") for place in places])
    with psycopg.connect(server.superuser_url) as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
        found = connection.execute(query, [urlsplit(url).path[1:]]).fetchall()
    ((pid,),) = found
    return _Backend(sink, {one.partition: one for one in claims}, pid)


def _turn(server: PostgresServer, table: _Table, url: str, random: Random) -> None:
    backend = _backend(server, url)
    stood = {place: claim.next_offset for place, claim in backend.claims.items()}
    for number in range(_WARM + _COUNTED):
        rows = _rows(table.next)
        table.next += _BATCH
        ends = {some.partition: some.offsets[-1] + 1 for some in rows}
        moves = tuple(Move(backend.claims[place], stood[place], end) for place, end in ends.items())
        backend.write(SinkBatch(rows, moves), table.fast if number >= _WARM else _Costs())
        stood |= ends
    for number in range(_WARM + _COUNTED):
        first = random.randrange((table.size - _BATCH) // _RUN) * _RUN
        # Without moves, as a replay has it: nothing is at the sink's position.
        backend.write(SinkBatch(_rows(first), ()), table.slow if number >= _WARM else _Costs())
    backend.sink.close()


def _copy(server: PostgresServer, url: str, name: str) -> str:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {urlsplit(url).path[1:]} STRATEGY file_copy")
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def _tables(server: PostgresServer, sizes: Sequence[int]) -> Iterator[_Table]:
    """One of each size: copies of the largest one, made while it grew."""
    url = _copy(server, urlsplit(server.url)._replace(path="/template0").geturl(), "growing")
    migrate(url, list(Part), CATALOG)
    for size in sizes:
        print(f"filling up to {size:,} rows ...", file=sys.stderr, flush=True)
        _grow(url, size)
        yield _Table(url if size == sizes[-1] else _copy(server, url, f"rows{size}"), size, size)


def measure(largest: int, turns: int) -> list[_Table]:
    """The costs in tables of the sizes up to `largest` rows."""
    random = Random(1)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        PostgresServer(Path(name) / "postgres", options=_OPTIONS) as server,
        ending_with_this_process(PostgresServer, server.folder),
    ):
        Path(name).chmod(0o755)
        server.start()
        tables = list(_tables(server, [size for size in SIZES if size <= largest]))
        for _ in range(turns):
            for table in tables:
                url = table.url
                if table.size < _COPIED_BELOW:
                    url, table.next = _copy(server, url, "turn"), table.size
                with psycopg.connect(server.superuser_url, autocommit=True) as connection:
                    connection.execute("CHECKPOINT")
                _turn(server, table, url, random)
    return tables


def draw(tables: Sequence[_Table], runs: int) -> str:
    """The plot, as SVG."""
    sizes = [table.size for table in tables]
    curves = [
        Curve("slow path: rows read again", [statistics.median(table.slow.wall) for table in tables]),
        Curve("fast path: new rows", [statistics.median(table.fast.wall) for table in tables]),
        Curve("slow path, server's processor time", [statistics.median(t.slow.processor) for t in tables], dashed=True),
        Curve("fast path, server's processor time", [statistics.median(t.fast.processor) for t in tables], dashed=True),
    ]
    title = f"A batch of {_BATCH:,} rows, as its table grows (medians of {runs * _COUNTED})"
    return plot(title, "rows in the table", "milliseconds a batch", sizes, curves)


def lines(tables: Sequence[_Table]) -> list[Line]:
    """The largest table beside the smallest one."""
    small, large = tables[0], tables[-1]
    found = []
    for what, most, few, many in (
        ("fast path", 1.1, small.fast, large.fast),
        ("slow path", 1.5, small.slow, large.slow),
    ):
        for clock, before, after in (
            ("", few.wall, many.wall),
            (", server's processor time", few.processor, many.processor),
        ):
            raw = statistics.median(before)
            name = f"batch of {_BATCH:,} at {large.size:,} rows, {what}{clock}"
            value = statistics.median(after)
            goal = None if clock else most * raw
            found.append(Line(name, "ms", value, f"at {small.size:,}", raw, goal, lower_is_better=True))
    return found


def run(largest: int, turns: int, file: Path = _DRAWING) -> list[Line]:
    """The lines; the plot goes into a file."""
    tables = measure(largest, turns)
    file.write_text(draw(tables, turns), "utf-8")
    for table in tables:
        costs = {"fast": table.fast.wall, "fast, server": table.fast.processor}
        costs |= {"slow": table.slow.wall, "slow, server": table.slow.processor}
        told = ", ".join(f"{name} {statistics.median(some):.0f} ms" for name, some in costs.items())
        print(f"{table.size:>12,} rows: {told}", file=sys.stderr, flush=True)
    return lines(tables)


if __name__ == "__main__":
    from benchmarks.report import table as as_table

    print(as_table(run(SIZES[-1], 6, Path(sys.argv[1]) if len(sys.argv) > 1 else _DRAWING)))
