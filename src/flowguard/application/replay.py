"""Reading a range of the log again: what is missing in the sink is filled in, what exists is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

from flowguard.application.observe import NoSuchNameError, named
from flowguard.application.writing import BatchWriter, Landed, letters_of
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.batching import Batch
from flowguard.domain.catalog import Catalog, EventType
from flowguard.domain.dead_letters import Reason, Rejection
from flowguard.domain.decisions import Write
from flowguard.domain.decoding import BatchDecoder
from flowguard.domain.errors import PermanentError
from flowguard.domain.ingestion import Claim, RecordRun, TopicPartition
from flowguard.domain.telemetry import RecordsDeadLettered, RowsDiscarded, RowsMerged
from flowguard.ports.clock import Clock
from flowguard.ports.dead_letters import DeadLetterQueue
from flowguard.ports.event_log import EventLog, PartitionSpan
from flowguard.ports.ledger import Ledger
from flowguard.ports.sink import EventSink
from flowguard.ports.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a replay would read, and what that would do. Nothing was changed to find out.

    `first` to `last` (inclusive) is what can be replayed of what was asked for; where nothing can, `last` < `first`.
    Of the `records` read, `exist` were resolved as rows, duplicates or by a filter, `would_land` have no row (unless
    the sink finds their event under another offset), and `dead_letters` can never land. From `earliest` to below
    `position` is what can be replayed at all: the rest was removed by retention, or is in flight.
    """

    stream: str
    partition: TopicPartition
    incarnation: int
    first: int
    last: int
    earliest: int
    position: int
    records: int = 0
    exist: int = 0
    would_land: int = 0
    dead_letters: int = 0


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay did."""

    read: int = 0
    inserted: int = 0
    duplicates: int = 0
    filtered: int = 0
    dead_lettered: int = 0


@dataclass(frozen=True, slots=True)
class ReplayPorts:
    """What a replay needs of the world."""

    log: EventLog
    ledger: Ledger
    sink: EventSink
    dead_letters: DeadLetterQueue
    clock: Clock
    telemetry: Telemetry


class Replayer:
    """Safe while the pipeline runs: it moves no position, and goes no further than the sink's own."""

    def __init__(self, catalog: Catalog, group: str, ports: ReplayPorts, *, max_records: int) -> None:
        self._catalog = catalog
        self._group = group
        self._ports = ports
        self._max_records = max_records
        self._decoder = BatchDecoder(catalog)
        self._writer = BatchWriter(self._decoder, ports.sink, ports.clock)
        self._numbers = count(1)

    def plan(self, stream: str, partition: int, first: int, last: int | None = None) -> ReplayPlan:
        """Read the range and say what replaying it would do. `last` is inclusive; None: as far as the sink has come.

        Raises NoSuchNameError (no such stream or partition), TransientError, ConfigurationError.
        """
        event_type = named(self._catalog, stream)
        plan = self._bounds(event_type, partition, first, last)
        if plan.last < plan.first:
            return plan
        known = self._ports.ledger.offsets(event_type, plan.partition, plan.incarnation)
        records = exist = would_land = dead = 0
        for batch in self._batches(plan):
            decoded = self._decoder.decode(batch, _claims(plan), self._ports.clock.now())
            rows = OffsetRanges.of(offset for rows in decoded.rows for offset in rows.offsets)
            # What was filtered for a reason that is gone (a rule, a column that was missing) lands now.
            resolved = known.landed | known.duplicates | (known.filtered - rows)
            there = len(OffsetRanges.of(offset for run in batch.runs for offset in run.offsets) & resolved)
            records += len(batch)
            exist += there
            would_land += len(rows - resolved)
            dead += len(decoded.rejections)
        return replace(plan, records=records, exist=exist, would_land=would_land, dead_letters=dead)

    def run(self, plan: ReplayPlan) -> ReplayReport:
        """Do it. Doing it twice, or breaking it off, harms nothing. Raises TransientError, ConfigurationError."""
        report = ReplayReport()
        started = self._ports.clock.monotonic()
        for batch in self._batches(plan):
            report = self._replay(batch, plan, replace(report, read=report.read + len(batch)))
        seconds = self._ports.clock.monotonic() - started
        self._ports.telemetry.emit(RowsMerged(plan.stream, report.inserted, report.duplicates, seconds))
        return report

    def _bounds(self, event_type: EventType, partition: int, first: int, last: int | None) -> ReplayPlan:
        described = self._ports.log.describe(event_type.topic, self._group)
        spans = {} if described is None else {span.partition.partition: span for span in described.spans}
        span: PartitionSpan | None = spans.get(partition)
        if described is None or span is None:
            there = f"there are: {', '.join(map(str, spans))}" if spans else "there is no such topic yet"
            raise NoSuchNameError(f"{event_type.topic} has no partition {partition}; {there}")
        stands = next(
            (
                one
                for one in self._ports.ledger.positions()
                if one.partition == span.partition and one.topic_id == described.topic_id
            ),
            None,
        )
        position = 0 if stands is None else stands.next_offset or 0
        start = max(first, span.earliest)
        end = position - 1 if last is None else min(last, position - 1)
        incarnation = 1 if stands is None else stands.incarnation
        return ReplayPlan(
            event_type.name, span.partition, incarnation, start, max(end, start - 1), span.earliest, position
        )

    def _batches(self, plan: ReplayPlan) -> Iterator[Batch]:
        at = plan.first
        while at <= plan.last:
            runs = self._ports.log.read(plan.partition, at, plan.last)
            if not runs:
                return
            for run in runs:
                for start in range(0, len(run), self._max_records):
                    yield self._batch(run.part(start, start + self._max_records))
            at = runs[-1].next_offset

    def _batch(self, run: RecordRun) -> Batch:
        return Batch(next(self._numbers), (run,))

    def _replay(self, batch: Batch, plan: ReplayPlan, report: ReplayReport) -> ReplayReport:
        try:
            result = self._writer.write(Write(batch, ()), _claims(plan))
        except PermanentError as error:
            if error.rows:
                result = [Rejection(r.partition, r.offset, Reason.REJECTED_BY_SINK, r.error) for r in error.rows]
            elif len(batch) == 1:
                result = [_only(batch, str(error))]
            else:
                for half in batch.halves(self._numbers):
                    report = self._replay(half, plan, report)
                return report
        if isinstance(result, Landed):
            merged = result.report.merged.get(plan.stream)
            discarded = 0
            for happening in result.report.told:
                self._ports.telemetry.emit(happening)
                discarded += happening.count if isinstance(happening, RowsDiscarded) else 0
            return replace(
                report,
                inserted=report.inserted + (merged.inserted if merged else 0),
                duplicates=report.duplicates + (merged.duplicates if merged else 0),
                filtered=report.filtered + sum(result.filtered.values()) + discarded,
            )
        letters = letters_of(batch, tuple(result), _claims(plan))
        self._ports.dead_letters.put(letters, self._ports.clock.now())
        for letter in letters:
            self._ports.telemetry.emit(RecordsDeadLettered(plan.stream, letter.reason, 1, letter.error))
        report = replace(report, dead_lettered=report.dead_lettered + len(letters))
        rest = batch.excluding((r.partition, r.offset) for r in result)
        return self._replay(rest, plan, report) if len(rest) else report


def _claims(plan: ReplayPlan) -> dict[TopicPartition, Claim]:
    # Epoch 0 owns nothing: what is written under it moves no position.
    return {plan.partition: Claim(plan.partition, plan.incarnation, 0, None)}


def _only(batch: Batch, error: str) -> Rejection:
    """The one record that is left of the batch."""
    return next(
        Rejection(run.partition, offset, Reason.REJECTED_BY_SINK, error)
        for run in batch.runs
        for offset in run.offsets
        if (run.partition, offset) not in batch.excluded
    )
