"""The audit: what the log accepted is landed, resolved some other way, or in flight; and what is lost is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from flowguard.application.audit import AuditReport
from flowguard.domain.audit import Gap, OffsetRanges
from flowguard.domain.catalog import EventType
from flowguard.domain.ingestion import Assignment, RecordRun, TopicPartition
from flowguard.domain.rows import Move, SinkBatch
from flowguard.ports.dead_letters import State
from flowguard.ports.event_log import EventLog, TopicDescription
from flowguard.ports.ledger import LandedOffsets, Ledger, SinkPosition, TableSummary
from tests.application.pipeline import Pipeline
from tests.builders import CLICKS, rows

PLACE = TopicPartition(CLICKS.topic, 0)


def _audit(pipeline: Pipeline) -> AuditReport:
    return pipeline.container.auditor().run()


def _land(pipeline: Pipeline, offsets: Sequence[int], next_offset: int) -> None:
    """Land these offsets, and move the position past more than them: what a broken consumer would do."""
    container = pipeline.container
    described = container.event_log().describe(CLICKS.topic, "flowguard")
    assert described is not None
    sink = container.sink()
    (claim,) = sink.claim("a broken consumer", [Assignment(PLACE, described.topic_id)])
    sink.write(SinkBatch((rows(CLICKS, offsets),), (Move(claim, claim.next_offset, next_offset),)))


def test_a_pipeline_that_did_its_work_balances(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a", "b", "a"])
    pipeline.log(CLICKS, [b"no event"])
    pipeline.ingest()
    pipeline.log_events(CLICKS, ["c", "d"])
    report = _audit(pipeline)
    assert report.ok
    assert report.as_json()["streams"]["clicks"] == {
        "logged": 6,
        "landed": 2,
        "dead_lettered": 1,
        "filtered": 0,
        "duplicates": 1,
        "in_flight": 2,
        "missing": [],
        "doubled": [],
    }


def test_what_was_skipped_is_named_as_ranges_of_offsets(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, map(str, range(10)))
    _land(pipeline, [0, 1, 2, 5, 7], next_offset=8)
    report = _audit(pipeline)
    assert not report.ok
    clicks = report.streams["clicks"]
    assert clicks.missing == (Gap(PLACE, 1, 3, 4), Gap(PLACE, 1, 6, 6))
    assert (clicks.logged, clicks.landed, clicks.in_flight) == (10, 5, 2)
    assert report.as_json()["streams"]["clicks"]["missing"][0] == {
        "topic": CLICKS.topic,
        "partition": 0,
        "incarnation": 1,
        "first": 3,
        "last": 4,
    }


def test_a_dead_letter_in_any_state_accounts_for_its_record(pipeline: Pipeline) -> None:
    pipeline.log(CLICKS, [b"no event", b"nor this"])
    pipeline.ingest()
    container = pipeline.container
    queue = container.dead_letters()
    queue.mark([queue.page()[0].letter.ingestion_id], State.DISCARDED, container.clock().now())
    assert _audit(pipeline).ok
    assert _audit(pipeline).streams["clicks"].dead_lettered == 2


def test_a_topic_that_was_made_again_is_audited_beside_what_is_known_of_the_first(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a", "b", "c"])
    pipeline.ingest()
    log = pipeline.container.event_log()
    (getattr(log, "delete_topic", None) or pipeline.container.memory_log().delete_topic)(CLICKS.topic)
    pipeline.prepare()
    pipeline.log_events(CLICKS, ["d"])
    clicks = _audit(pipeline).streams["clicks"]
    assert (clicks.ok, clicks.logged, clicks.landed, clicks.in_flight) == (True, 4, 3, 1)
    pipeline.ingest()
    clicks = _audit(pipeline).streams["clicks"]
    assert (clicks.ok, clicks.logged, clicks.landed, clicks.in_flight) == (True, 4, 4, 0)


class HoledLog(EventLog):
    """Says that offsets were logged which hold no record, as a log with transactions or compaction may."""

    def __init__(self, log: EventLog, holes: OffsetRanges, earliest: int = 0) -> None:
        self._log = log
        self._holes = holes
        self._earliest = earliest

    def describe(self, topic: str, group: str) -> TopicDescription | None:
        found = self._log.describe(topic, group)
        if found is None or topic != CLICKS.topic:
            return found
        spans = tuple(type(s)(s.partition, self._earliest, s.next_offset, s.committed) for s in found.spans)
        return TopicDescription(found.topic, found.topic_id, spans)

    def read(self, partition: TopicPartition, first: int, last: int) -> Sequence[RecordRun]:
        found = self._log.read(partition, max(first, self._earliest), last)
        return [
            run.part(index, index + 1)
            for run in found
            for index, offset in enumerate(run.offsets)
            if offset not in self._holes
        ]

    def logged(self, partition: TopicPartition) -> OffsetRanges:
        return self._log.logged(partition)

    def ensure(self, topics: Mapping[str, int]) -> Sequence[str]:
        return self._log.ensure(topics)

    def close(self) -> None:
        self._log.close()


def test_a_gap_without_a_record_is_no_loss(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, map(str, range(10)))
    _land(pipeline, [0, 1, 2, 5, 6, 7], next_offset=8)
    log = HoledLog(pipeline.container.event_log(), OffsetRanges([(3, 3)]))
    clicks = pipeline.container.auditor(log=log).run().streams["clicks"]
    assert clicks.missing == (Gap(PLACE, 1, 4, 4),)
    assert clicks.logged == 9


def test_a_gap_that_retention_took_cannot_be_excused(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, map(str, range(10)))
    _land(pipeline, [0, 1, 2, 5, 6, 7], next_offset=8)
    log = HoledLog(pipeline.container.event_log(), OffsetRanges(), earliest=6)
    clicks = pipeline.container.auditor(log=log).run().streams["clicks"]
    assert clicks.missing == (Gap(PLACE, 1, 3, 4),)


class BusyLedger(Ledger):
    """Lands more between any two looks at it, as a consumer does that runs meanwhile."""

    def __init__(self, ledger: Ledger, pipeline: Pipeline) -> None:
        self._ledger = ledger
        self._pipeline = pipeline
        self._landed = 0

    def _meanwhile(self) -> None:
        self._pipeline.log_events(CLICKS, [f"meanwhile {self._landed}"])
        self._landed += 1
        self._pipeline.ingest()

    def positions(self) -> Sequence[SinkPosition]:
        self._meanwhile()
        found = self._ledger.positions()
        self._meanwhile()
        return found

    def offsets(self, event_type: EventType, partition: TopicPartition, incarnation: int) -> LandedOffsets:
        self._meanwhile()
        found = self._ledger.offsets(event_type, partition, incarnation)
        self._meanwhile()
        return found

    def summary(self, event_type: EventType) -> TableSummary:
        return self._ledger.summary(event_type)

    def doubled(self, event_type: EventType, limit: int = 100) -> Sequence[str]:
        return self._ledger.doubled(event_type, limit)

    def recent(
        self, event_type: EventType, limit: int, where: Mapping[str, str] | None = None
    ) -> Sequence[Mapping[str, object]]:
        return self._ledger.recent(event_type, limit, where)


def test_what_lands_while_the_audit_reads_is_never_missing(pipeline: Pipeline) -> None:
    ledger = BusyLedger(pipeline.container.ledger(), pipeline)
    report = pipeline.container.auditor(ledger=ledger).run()
    assert report.ok
    assert ledger._landed > 4


class DoubledLedger(BusyLedger):
    """Finds a row twice, which no sink lets happen."""

    def _meanwhile(self) -> None:
        pass

    def doubled(self, event_type: EventType, limit: int = 100) -> Sequence[str]:
        return [f"{event_type.topic}-0-7"] if event_type == CLICKS else []


def test_a_doubled_row_is_named_even_where_nothing_was_logged(pipeline: Pipeline) -> None:
    ledger = DoubledLedger(pipeline.container.ledger(), pipeline)
    report = pipeline.container.auditor(ledger=ledger).run()
    assert not report.ok
    assert report.streams["clicks"].doubled == ("raw.clicks.v1-0-7",)
    assert report.streams["orders"].ok


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_all_partitions_are_looked_at(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    pipeline = Pipeline(kind, tmp_path_factory.mktemp("data"), partitions=3)
    pipeline.log_events(CLICKS, map(str, range(9)))
    pipeline.ingest()
    clicks = _audit(pipeline).streams["clicks"]
    assert (clicks.ok, clicks.logged, clicks.landed) == (True, 9, 9)
    pipeline.close()
