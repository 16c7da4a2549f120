"""What batches cost in round trips to Snowflake, on the local stand-in, beside one MERGE for each row.

Round trips are the same on an account. The stand-in's speed says nothing about Snowflake's: it is here for the contrast
between the ways, in the same run.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import snowflake.connector

from benchmarks.clicks import records
from benchmarks.core import CATALOG, CLICKS
from benchmarks.report import Line
from flowguard.adapters.snowflake import Part, SnowflakeEventSink, migrate, url_of
from flowguard.adapters.snowflake.documents import pieces_of
from flowguard.adapters.snowflake.feeding import is_large
from flowguard.adapters.snowflake.tables import table_of
from flowguard.domain.batching import Batch
from flowguard.domain.columns import Kind
from flowguard.domain.decoding import BatchDecoder
from flowguard.domain.ingestion import Assignment, RecordRun, TopicPartition
from flowguard.domain.rows import Move, Rows, SinkBatch
from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.snowflake import SnowflakeServer

SIZES = (1, 100, 10_000, 100_000)
_ONE_BY_ONE = 200
_MOST_ROUND_TRIPS = 4
_PLACE = TopicPartition(CLICKS.topic, 0)
_TIME = datetime(2026, 11, 25, tzinfo=UTC)


@dataclass(frozen=True)
class _Cost:
    """Of so many rows. `statements` includes COMMIT: each is a round trip. `again`: of the same rows once more."""

    rows: int
    statements: int
    seconds: float
    by_file: bool = False
    again: int = 0

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


class _Log:
    """New clicks, each 300 bytes, in one partition."""

    def __init__(self, sink: SnowflakeEventSink) -> None:
        (self.claim,) = sink.claim("bench", [Assignment(_PLACE, "bench")])
        self._values: Iterator[bytes] = iter(records(sum(SIZES) * 4))
        self._decoder = BatchDecoder(CATALOG)
        self._next = 0

    def take(self, number: int) -> tuple[Rows, Move]:
        """So many, and the move of the position past them."""
        first, self._next = self._next, self._next + number
        values = [next(self._values) for _ in range(number)]
        run = RecordRun(_PLACE, list(range(first, self._next)), values, [0] * number, None, None)
        decoded = self._decoder.decode(Batch(1, (run,)), {_PLACE: self.claim}, _TIME)
        (rows,) = decoded.rows
        return rows, Move(self.claim, first or None, self._next)


def _write(sink: SnowflakeEventSink, log: _Log, number: int) -> _Cost:
    rows, move = log.take(number)
    before, start = sink.statements, perf_counter()
    report = sink.write(SinkBatch((rows,), (move,)))
    seconds = perf_counter() - start
    assert report.merged[CLICKS.name].inserted == number
    statements = sink.statements - before
    again = sink.write(SinkBatch((rows,), ()))
    assert again.merged[CLICKS.name].duplicates == number
    by_file = is_large(pieces_of(table_of(CLICKS), [rows])[0].documents)
    return _Cost(number, statements, seconds, by_file, sink.statements - before - statements)


def _one_by_one(url: str, rows: Rows) -> _Cost:
    """A MERGE for each row, which commits by itself: what a sink does that was written for a row at a time."""
    table = table_of(CLICKS)
    source = ", ".join(
        f"{'PARSE_JSON(?)' if column.kind is Kind.JSON else '?'} AS {column.name.upper()}" for column in table.columns
    )
    merge = (
        f"MERGE INTO {table.name} AS t USING (SELECT {source}) AS s ON t.INGESTION_ID = s.INGESTION_ID"
        f" WHEN NOT MATCHED THEN INSERT ({table.names})"
        f" VALUES ({', '.join(f's.{column.name.upper()}' for column in table.columns)})"
    )
    options = {
        **url_of(url).options,
        "paramstyle": "qmark",
        "enable_server_session_keep_alive_auto_detection": False,
        "session_parameters": {"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
    }
    with snowflake.connector.connect(**options) as connection, connection.cursor() as cursor:
        start = perf_counter()
        for row in rows.values:
            cursor.execute(merge, [one.isoformat() if isinstance(one, datetime) else one for one in row])
            assert cursor.rowcount == 1
        return _Cost(len(rows.values), len(rows.values), perf_counter() - start)


@contextmanager
def _stand_in() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        SnowflakeServer(Path(name) / "snowflake", say=lambda text: print(text, file=sys.stderr)) as server,
        ending_with_this_process(SnowflakeServer, server.folder),
    ):
        server.start()
        yield server.url


def _measured(url: str, runs: int) -> tuple[dict[int, list[_Cost]], list[_Cost]]:
    migrate(url, [*Part], CATALOG)
    with closing(SnowflakeEventSink(url, CATALOG)) as sink:
        log = _Log(sink)
        for size in (1, SIZES[2]):  # what each connection does once: it looks at the columns, and makes a stage
            _write(sink, log, size)
        batches = {size: [_write(sink, log, size) for _ in range(runs if size < SIZES[-1] else 1)] for size in SIZES}
        singly = [_one_by_one(url, log.take(_ONE_BY_ONE)[0]) for _ in range(runs)]
    return batches, singly


def run(runs: int) -> list[Line]:
    """Two lines a size: round trips, and rows per second beside one MERGE a row."""
    with _stand_in() as url:
        batches, singly = _measured(url, runs)
    slow = statistics.median(one.rate for one in singly)
    lines = [Line(f"{_ONE_BY_ONE} rows, one MERGE each", "round trips", singly[0].statements)]
    for size, costs in batches.items():
        (statements,) = {one.statements for one in costs}
        by_file = costs[0].by_file
        name = f"batch of {size:,}{' (by a file)' if by_file else ''}"
        goal = None if by_file else _MOST_ROUND_TRIPS
        (again,) = {one.again for one in costs}
        lines += [
            Line(name, "round trips", statements, goal=goal, lower_is_better=True),
            Line("... once more, all there already", "round trips", again, goal=goal, lower_is_better=True),
            Line("... on the stand-in", "rows/s", statistics.median(c.rate for c in costs), "one MERGE a row", slow),
        ]
    return lines
