"""Conservation, checked: every record that the log accepted is landed, resolved some other way, or still in flight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypedDict

from flowguard.application.continuity import require_no_set_back
from flowguard.domain.audit import Gap, OffsetRanges, PartitionAccount, StreamAudit, audit
from flowguard.domain.catalog import Catalog, EventType
from flowguard.domain.ingestion import TopicPartition
from flowguard.ports.dead_letters import DeadLetterQueue
from flowguard.ports.event_log import EventLog, PartitionSpan
from flowguard.ports.ledger import Ledger, SinkPosition


class GapJson(TypedDict):
    """Offsets `first` to `last`, both inclusive, that were accepted and are nowhere."""

    topic: str
    partition: int
    incarnation: int
    first: int
    last: int


class StreamAuditJson(TypedDict):
    """The sums of one stream; `doubled` are ids that have more than one row."""

    logged: int
    landed: int
    dead_lettered: int
    filtered: int
    duplicates: int
    in_flight: int
    missing: list[GapJson]
    doubled: list[str]


class AuditJson(TypedDict):
    """The report as `flowguard audit --json` prints it."""

    ok: bool
    streams: dict[str, StreamAuditJson]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The balance of each stream, in the catalog's order."""

    streams: Mapping[str, StreamAudit]

    @property
    def ok(self) -> bool:
        return all(one.ok for one in self.streams.values())

    def as_json(self) -> AuditJson:
        return AuditJson(ok=self.ok, streams={name: _json(one) for name, one in self.streams.items()})


class Auditor:
    """Balances log, sink and dead letters. Right while the pipeline runs: what lands in between is never missing.

    A topic may be older than its sink. What the log had deleted before the first record that the sink knows of is not
    counted; nor, where the consumer `trusts_group`, is anything else before that record: others have dealt with it.
    """

    def __init__(
        self,
        catalog: Catalog,
        group: str,
        log: EventLog,
        ledger: Ledger,
        dead_letters: DeadLetterQueue,
        *,
        trusts_group: bool = False,
    ) -> None:
        self._catalog = catalog
        self._group = group
        self._log = log
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._trusts_group = trusts_group

    def run(self) -> AuditReport:
        """Reads every row's position: it takes time in proportion to the tables.

        Raises TransientError, ConfigurationError (also where the log is an older copy, whose offsets prove nothing).
        """
        require_no_set_back(self._catalog, self._group, self._log, self._ledger)
        return AuditReport({one.name: self._stream(one) for one in self._catalog})

    def _stream(self, event_type: EventType) -> StreamAudit:
        accounts = []
        for account in self._accounts(event_type):
            gaps = audit([account]).missing
            absent = self._absent(account.partition, gaps) if gaps else OffsetRanges()
            accounts.append(replace(account, logged=account.logged - absent))
        return replace(audit(accounts), doubled=tuple(self._ledger.doubled(event_type)))

    def _accounts(self, event_type: EventType) -> Iterator[PartitionAccount]:
        # The order of reading is the proof. Positions come first: what lies below them was resolved by then, so it is
        # found in what is read afterwards, however much lands meanwhile.
        positions = [one for one in self._ledger.positions() if one.partition.topic == event_type.topic]
        described = self._log.describe(event_type.topic, self._group)
        topic_id = None if described is None else described.topic_id
        spans = () if described is None else described.spans
        yield from (self._of_gone_topic(event_type, one) for one in positions if one.topic_id != topic_id)
        current = {one.partition: one for one in positions if one.topic_id == topic_id}
        known = {one.incarnation for one in current.values()}
        # A making of the topic that the sink has not seen yet will be its next one.
        incarnation = min(known) if known else 1 + max((one.incarnation for one in positions), default=0)
        for span in spans:
            yield self._of_span(event_type, span, incarnation, current.get(span.partition))

    def _of_span(
        self, event_type: EventType, span: PartitionSpan, incarnation: int, position: SinkPosition | None
    ) -> PartitionAccount:
        next_offset = 0 if position is None or position.next_offset is None else position.next_offset
        logged = self._log.logged(span.partition)
        account = self._account(event_type, span.partition, incarnation, next_offset, logged)
        known = account.landed | account.duplicates | account.filtered | account.dead_lettered
        before = min((first for first, _ in known), default=next_offset or span.earliest)
        if not self._trusts_group:
            before = min(before, span.earliest)
        return replace(account, logged=logged - OffsetRanges([(0, before - 1)])) if before else account

    def _of_gone_topic(self, event_type: EventType, position: SinkPosition) -> PartitionAccount:
        """Its log is gone with it: what was resolved is all that is known to have been logged."""
        account = self._account(
            event_type, position.partition, position.incarnation, position.next_offset or 0, OffsetRanges()
        )
        logged = account.landed | account.duplicates | account.filtered | account.dead_lettered
        return replace(account, logged=logged)

    def _account(
        self,
        event_type: EventType,
        partition: TopicPartition,
        incarnation: int,
        position: int,
        logged: OffsetRanges,
    ) -> PartitionAccount:
        offsets = self._ledger.offsets(event_type, partition, incarnation)
        return PartitionAccount(
            partition,
            incarnation,
            logged,
            position,
            offsets.landed,
            offsets.duplicates,
            offsets.filtered,
            self._dead_letters.offsets(partition, incarnation),
        )

    def _absent(self, partition: TopicPartition, gaps: Iterable[Gap]) -> OffsetRanges:
        """Offsets in the gaps that hold no record: transactions and compaction leave such holes.

        Only what the log can still read is judged; below that, `logged` stands.
        """
        suspected = OffsetRanges((gap.first, gap.last) for gap in gaps)
        held = OffsetRanges.of(
            offset for first, last in suspected for offset in self._offsets_between(partition, first, last)
        )
        # Read after the records: what retention took meanwhile is not held for a hole.
        described = self._log.describe(partition.topic, self._group)
        spans = () if described is None else described.spans
        readable = OffsetRanges(
            (span.earliest, span.next_offset - 1)
            for span in spans
            if span.partition == partition and span.next_offset > span.earliest
        )
        return (suspected & readable) - held

    def _offsets_between(self, partition: TopicPartition, first: int, last: int) -> Iterator[int]:
        while first <= last:
            runs = self._log.read(partition, first, last)
            for run in runs:
                yield from run.offsets
            if not runs:
                return
            first = runs[-1].next_offset


def _json(one: StreamAudit) -> StreamAuditJson:
    return StreamAuditJson(
        logged=one.logged,
        landed=one.landed,
        dead_lettered=one.dead_lettered,
        filtered=one.filtered,
        duplicates=one.duplicates,
        in_flight=one.in_flight,
        missing=[
            GapJson(
                topic=gap.partition.topic,
                partition=gap.partition.partition,
                incarnation=gap.incarnation,
                first=gap.first,
                last=gap.last,
            )
            for gap in one.missing
        ],
        doubled=list(one.doubled),
    )
