"""What the log does not keep any more: told when it should have been read, and counted by the audit."""

from __future__ import annotations

from pathlib import Path

from flowguard.domain.ingestion import TopicPartition
from flowguard.domain.telemetry import HistoryGone, OffsetsGone, PartitionsAssigned, RowsMerged
from tests.application.ingesting import GROUP, Policies, Rig
from tests.application.pipeline import Pipeline
from tests.builders import CLICKS

PLACE = TopicPartition(CLICKS.topic, 0)


def test_retention_that_passes_the_consumer_by_is_told_with_its_range() -> None:
    rig = Rig()
    rig.publish_clicks(1, 4)
    first = rig.member().start()
    first.until_told(RowsMerged)
    first.stop()
    rig.publish_clicks(5, 10)
    rig.log.truncate(PLACE, 7)
    member = rig.member().start()
    member.until_told(OffsetsGone)
    member.until_told(RowsMerged)
    member.stop()
    assert member.happenings.of(OffsetsGone) == [OffsetsGone(PLACE, 4, 6)]
    assert member.happenings.of(HistoryGone) == []


def test_what_was_deleted_before_the_sinks_first_row_is_history() -> None:
    rig = Rig()
    rig.publish_clicks(1, 10)
    rig.log.truncate(PLACE, 7)
    member = rig.member().start()
    member.until_told(RowsMerged)
    member.stop()
    assert member.happenings.of(OffsetsGone) == []
    assert member.happenings.of(HistoryGone) == [HistoryGone(PLACE, 7)]


def test_a_group_that_is_trusted_goes_on_where_it_stands() -> None:
    rig = Rig()
    rig.publish_clicks(1, 10)
    _commit(rig, 6)
    member = rig.member(Policies(trusts_group=True)).start()
    member.until_told(RowsMerged)
    member.stop()
    assert member.happenings.of(PartitionsAssigned)[0].starts[0] == (PLACE, None)
    assert sum(one.inserted for one in member.happenings.of(RowsMerged)) == 4


def test_a_group_is_not_trusted_unless_somebody_says_so() -> None:
    rig = Rig()
    rig.publish_clicks(1, 10)
    _commit(rig, 6)
    member = rig.member().start()
    member.until(lambda: sum(one.inserted for one in member.happenings.of(RowsMerged)) == 10)
    member.stop()


def test_the_audit_does_not_count_what_was_deleted_before_the_sinks_first_row(tmp_path: Path) -> None:
    pipeline = Pipeline("memory", tmp_path)
    pipeline.log_events(CLICKS, map(str, range(10)))
    pipeline.container.memory_log().truncate(PLACE, 6)
    pipeline.ingest()
    report = pipeline.container.auditor().run()
    assert report.ok
    assert report.streams["clicks"].logged == report.streams["clicks"].landed == 4


def test_the_audit_names_what_retention_took_after_the_sinks_first_row(tmp_path: Path) -> None:
    pipeline = Pipeline("memory", tmp_path)
    pipeline.log_events(CLICKS, map(str, range(4)))
    pipeline.ingest()
    pipeline.log_events(CLICKS, map(str, range(4, 10)))
    pipeline.container.memory_log().truncate(PLACE, 7)
    pipeline.ingest()
    (gap,) = pipeline.container.auditor().run().streams["clicks"].missing
    assert (gap.partition, gap.first, gap.last) == (PLACE, 4, 6)


def _commit(rig: Rig, next_offset: int) -> None:
    """As another consumer of the group did, before FlowGuard took over."""
    with rig.log.changed:
        rig.log.group(GROUP).committed[PLACE] = next_offset
