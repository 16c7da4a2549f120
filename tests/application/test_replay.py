"""Replaying a range of offsets: what is missing lands, what exists is skipped, nothing else changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from flowguard.adapters.system import RecordingTelemetry
from flowguard.application.observe import NoSuchNameError
from flowguard.application.replay import Replayer
from flowguard.domain.dead_letters import Reason
from flowguard.domain.errors import PermanentError, RowFault, TransientError
from flowguard.domain.ingestion import Assignment, Claim, TopicPartition
from flowguard.domain.rows import Move, SinkBatch, WriteReport
from flowguard.domain.telemetry import RowsMerged
from flowguard.ports.sink import EventSink
from tests.application.pipeline import Pipeline
from tests.builders import CLICKS, rows

PLACE = TopicPartition(CLICKS.topic, 0)


def _positions(pipeline: Pipeline) -> object:
    return [(one.partition, one.next_offset, one.epoch) for one in pipeline.container.ledger().positions()]


def _landed(pipeline: Pipeline) -> int:
    return pipeline.container.ledger().summary(CLICKS).rows


def _with_gap(pipeline: Pipeline, offsets: Sequence[int], next_offset: int) -> None:
    container = pipeline.container
    described = container.event_log().describe(CLICKS.topic, "flowguard")
    assert described is not None
    sink = container.sink()
    (claim,) = sink.claim("a broken consumer", [Assignment(PLACE, described.topic_id)])
    sink.write(SinkBatch((rows(CLICKS, offsets),), (Move(claim, claim.next_offset, next_offset),)))


def test_the_reference_scenario(pipeline: Pipeline) -> None:
    telemetry = RecordingTelemetry()
    pipeline.container.telemetry.override(telemetry)
    pipeline.log_events(CLICKS, map(str, range(242)))
    pipeline.ingest()
    before = _positions(pipeline)
    replayer = pipeline.container.replayer()
    plan = replayer.plan("clicks", 0, 237)
    assert (plan.first, plan.last, plan.records, plan.exist, plan.would_land) == (237, 241, 5, 5, 0)
    report = replayer.run(plan)
    assert (report.read, report.inserted, report.duplicates) == (5, 0, 5)
    assert _landed(pipeline) == 242
    assert _positions(pipeline) == before
    last = telemetry.of(RowsMerged)[-1]
    assert (last.stream, last.inserted, last.duplicates) == ("clicks", 0, 5)


def test_what_is_missing_lands_and_the_audit_is_content_again(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, [f"1/0/{offset}" for offset in range(10)])
    _with_gap(pipeline, [0, 1, 2, 6, 7], next_offset=8)
    replayer = pipeline.container.replayer()
    plan = replayer.plan("clicks", 0, 2, 6)
    assert (plan.records, plan.exist, plan.would_land, plan.dead_letters) == (5, 2, 3, 0)
    assert not pipeline.container.auditor().run().ok
    report = replayer.run(plan)
    assert (report.inserted, report.duplicates) == (3, 2)
    assert pipeline.container.auditor().run().ok


def test_what_was_absorbed_exists_too(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a", "a", "b"])
    pipeline.ingest()
    replayer = pipeline.container.replayer()
    plan = replayer.plan("clicks", 0, 0)
    assert (plan.records, plan.exist, plan.would_land) == (3, 3, 0)
    report = replayer.run(plan)
    assert (report.inserted, report.duplicates) == (0, 3)
    assert pipeline.container.auditor().run().streams["clicks"].duplicates == 1


def test_planning_changes_nothing(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, [f"1/0/{offset}" for offset in range(4)])
    pipeline.log(CLICKS, [b"no event"])
    _with_gap(pipeline, [0], next_offset=5)
    plan = pipeline.container.replayer().plan("clicks", 0, 0)
    assert (plan.would_land, plan.dead_letters) == (3, 1)
    assert _landed(pipeline) == 1
    assert not pipeline.container.dead_letters().page()


def test_what_is_in_flight_is_left_to_the_consumer(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, map(str, range(4)))
    pipeline.ingest()
    pipeline.log_events(CLICKS, ["4", "5"])
    replayer = pipeline.container.replayer()
    plan = replayer.plan("clicks", 0, 2, 5)
    assert (plan.first, plan.last, plan.position, plan.records) == (2, 3, 4, 2)
    beyond = replayer.plan("clicks", 0, 4)
    assert beyond.last < beyond.first
    assert replayer.run(beyond).read == 0
    assert _landed(pipeline) == 4
    pipeline.ingest()
    assert _landed(pipeline) == 6


def test_nothing_to_replay_where_the_sink_has_never_been(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a"])
    plan = pipeline.container.replayer().plan("clicks", 0, 0)
    assert (plan.records, plan.position) == (0, 0)
    assert plan.last < plan.first


def test_a_record_that_still_cannot_land_is_the_same_dead_letter_again(pipeline: Pipeline) -> None:
    pipeline.log(CLICKS, [b"no event"])
    pipeline.log_events(CLICKS, ["a"])
    pipeline.ingest()
    replayer = pipeline.container.replayer()
    report = replayer.run(replayer.plan("clicks", 0, 0))
    assert (report.read, report.dead_lettered, report.duplicates) == (2, 1, 1)
    (stored,) = pipeline.container.dead_letters().page()
    assert (stored.letter.reason, stored.attempts) == (Reason.MALFORMED, 2)


class RefusingSink(EventSink):
    """Refuses what the rule says, before the real one is asked."""

    def __init__(self, sink: EventSink, rule: Callable[[SinkBatch], None]) -> None:
        self._sink = sink
        self._rule = rule

    def claim(self, owner: str, assignments: Sequence[Assignment]) -> Sequence[Claim]:
        return self._sink.claim(owner, assignments)

    def write(self, batch: SinkBatch) -> WriteReport:
        self._rule(batch)
        return self._sink.write(batch)

    def check(self) -> None:
        self._sink.check()

    def close(self) -> None:
        self._sink.close()


def _offsets(batch: SinkBatch) -> list[int]:
    return [offset for some in batch.rows for offset in some.offsets]


def _refusing(pipeline: Pipeline, rule: Callable[[SinkBatch], None]) -> Replayer:
    container = pipeline.container
    container.sink.override(RefusingSink(container.sink(), rule))
    return container.replayer()


@pytest.mark.parametrize("named", [True, False])
def test_rows_that_the_sink_refuses_cost_themselves_only(pipeline: Pipeline, named: bool) -> None:
    def rule(batch: SinkBatch) -> None:
        bad = [offset for offset in _offsets(batch) if offset in {3, 4}]
        if bad:
            raise PermanentError("refused", [RowFault(PLACE, one, "too long") for one in bad] if named else ())

    pipeline.log_events(CLICKS, [f"1/0/{offset}" for offset in range(10)])
    _with_gap(pipeline, [0], next_offset=10)
    replayer = _refusing(pipeline, rule)
    report = replayer.run(replayer.plan("clicks", 0, 0))
    assert (report.read, report.inserted, report.duplicates, report.dead_lettered) == (10, 7, 1, 2)
    letters = pipeline.container.dead_letters().page()
    assert [one.letter.ingestion_id.offset for one in letters] == [3, 4]
    assert {one.letter.reason for one in letters} == {Reason.REJECTED_BY_SINK}
    assert pipeline.container.auditor().run().ok


def test_a_sink_that_is_away_makes_no_dead_letters(pipeline: Pipeline) -> None:
    def rule(batch: SinkBatch) -> None:
        raise TransientError("away")

    pipeline.log_events(CLICKS, ["a"])
    pipeline.ingest()
    replayer = _refusing(pipeline, rule)
    with pytest.raises(TransientError, match="away"):
        replayer.run(replayer.plan("clicks", 0, 0))
    assert not pipeline.container.dead_letters().page()


def test_an_unknown_stream_or_partition_is_said_so(pipeline: Pipeline) -> None:
    replayer = pipeline.container.replayer()
    with pytest.raises(NoSuchNameError, match="no stream 'nope'"):
        replayer.plan("nope", 0, 0)
    with pytest.raises(NoSuchNameError, match=r"raw.clicks.v1 has no partition 7; there are: 0"):
        replayer.plan("clicks", 7, 0)
