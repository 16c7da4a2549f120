"""What goes on, in figures: one status a stream, and the rows that landed last. For command line and page alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import nlargest
from threading import Lock
from typing import TypedDict

from flowguard.domain.catalog import Catalog, EventType
from flowguard.domain.columns import METADATA, columns_of
from flowguard.domain.errors import FlowGuardError
from flowguard.ports.clock import Clock
from flowguard.ports.dead_letters import DeadLetterQueue
from flowguard.ports.event_log import EventLog, PartitionSpan
from flowguard.ports.ledger import Ledger, SinkPosition


class StreamStatus(TypedDict):
    """One stream. Every count is of records, over all partitions and all incarnations of the topic."""

    topic: str
    logged: int
    """Records that the log took, less nothing: what retention removed counts."""
    landed: int
    """Rows of the table."""
    dead_lettered: int
    """Records with a dead letter, in any state: a replayed one is logged a second time, and lands under that offset."""
    lag: int
    """Logged, and not yet resolved (landed, absorbed as a duplicate, filtered or dead-lettered)."""
    oldest_unlanded_s: float | None
    """Age of the oldest record in the lag, in seconds by the log's clock; None where there is no lag."""
    metadata_complete: float
    """Share of the rows whose metadata columns are all known, 0.0 to 1.0; 1.0 for an empty table."""


class Status(TypedDict):
    """By stream, in the catalog's order."""

    streams: dict[str, StreamStatus]


class NoSuchNameError(FlowGuardError):
    """A stream or a column that the catalog does not have. The text says which there are."""


class Observer:
    """Reads log, sink and dead-letter queue; changes nothing. Callable from any thread, with ports of its own.

    Counting rows costs time in proportion to the table. So that a page that asks each second never keeps the database
    busy, the same answer is given again until `patience` times what it took to count has gone by.
    """

    def __init__(
        self,
        catalog: Catalog,
        group: str,
        log: EventLog,
        ledger: Ledger,
        dead_letters: DeadLetterQueue,
        clock: Clock,
        *,
        patience: float = 20.0,
    ) -> None:
        self._catalog = catalog
        self._group = group
        self._log = log
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._clock = clock
        self._patience = patience
        self._lock = Lock()
        self._last: Status | None = None
        self._fresh_until = 0.0

    def status(self) -> Status:
        """The figures now, or those of a moment ago (see the class). Raises TransientError, ConfigurationError."""
        with self._lock:
            started = self._clock.monotonic()
            if self._last is None or started >= self._fresh_until:
                self._last = Status(streams={one.name: self._stream(one) for one in self._catalog})
                ended = self._clock.monotonic()
                self._fresh_until = ended + self._patience * (ended - started)
            return self._last

    def recent(
        self, stream: str | None = None, limit: int = 20, where: Mapping[str, str] | None = None
    ) -> Sequence[Mapping[str, object]]:
        """Rows that landed last, newest first; of one stream, or of all that have the columns of `where`.

        Raises NoSuchNameError, TransientError, ConfigurationError.
        """
        wanted = _with_columns([named(self._catalog, stream)] if stream else list(self._catalog), where or {})
        with self._lock:
            rows = [row for one in wanted for row in self._ledger.recent(one, limit, where)]
        if len(wanted) == 1:
            return rows
        return nlargest(limit, rows, key=lambda row: str(row["ingested_at"]))

    def _stream(self, event_type: EventType) -> StreamStatus:
        # Positions, then rows, then what is logged: whoever sees no lag sees all rows that were logged by then, and
        # never more rows than records.
        known = [one for one in self._ledger.positions() if one.partition.topic == event_type.topic]
        described = self._log.describe(event_type.topic, self._group)
        spans = () if described is None else described.spans
        topic_id = None if described is None else described.topic_id
        current = {one.partition: one for one in known if one.topic_id == topic_id}
        # Of a making of the topic that is gone, what the sink resolved is all that is known.
        gone = sum(one.next_offset or 0 for one in known if one.topic_id != topic_id)
        lag = 0
        oldest: float | None = None
        for span in spans:
            start = _start(span, current.get(span.partition))
            if span.next_offset > start:
                lag += span.next_offset - start
                age = self._age(span, start)
                oldest = age if oldest is None else max(oldest, age or 0.0)
        dead = sum(len(self._dead_letters.offsets(one.partition, one.incarnation)) for one in known)
        summary = self._ledger.summary(event_type)
        return StreamStatus(
            topic=event_type.topic,
            logged=gone + sum(len(self._log.logged(span.partition)) for span in spans),
            landed=summary.rows,
            dead_lettered=dead,
            lag=lag,
            oldest_unlanded_s=oldest,
            metadata_complete=summary.metadata_complete / summary.rows if summary.rows else 1.0,
        )

    def _age(self, span: PartitionSpan, start: int) -> float | None:
        """Seconds since the log took the first record at or past `start`; None where there is none after all."""
        # Most often it stands right there; a wider read would fetch megabytes for the sake of one.
        for last in (start, span.next_offset - 1):
            for run in self._log.read(span.partition, start, last):
                return max(0.0, self._clock.now().timestamp() - run.timestamps_ms[0] / 1000)
        return None


def named(catalog: Catalog, stream: str) -> EventType:
    """The event type of that name. Raises NoSuchNameError."""
    found = catalog.named(stream)
    if found is None:
        raise NoSuchNameError(f"there is no stream {stream!r} in the catalog; there are: {', '.join(catalog.names)}")
    return found


def _with_columns(types: list[EventType], where: Mapping[str, str]) -> list[EventType]:
    columns = {one.name: _columns(one) for one in types}
    fitting = [one for one in types if where.keys() <= columns[one.name]]
    if not fitting:
        known = sorted(set().union(*columns.values()))
        unknown = sorted(where.keys() - set(known)) or sorted(where)
        raise NoSuchNameError(f"no stream has the column {', '.join(unknown)}; there are: {', '.join(known)}")
    return fitting


def _columns(event_type: EventType) -> set[str]:
    return {column.name for column in (*METADATA, *columns_of(event_type.model))}


def _start(span: PartitionSpan, position: SinkPosition | None) -> int:
    """Where the unresolved part of a partition begins."""
    resolved = 0 if position is None or position.next_offset is None else position.next_offset
    return max(resolved, span.earliest)
