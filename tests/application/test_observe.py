"""Status and recent rows, as the command line and the page show them."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from flowguard.application.observe import NoSuchNameError, Observer
from flowguard.domain.catalog import EventType
from flowguard.domain.ingestion import TopicPartition
from flowguard.ports.clock import Clock
from flowguard.ports.ledger import TableSummary
from tests.application.pipeline import Pipeline
from tests.builders import CLICKS, ORDERS, event


class SetClock(Clock):
    """Stands where it is put."""

    def __init__(self, now: datetime) -> None:
        self.wall = now
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds


def test_an_empty_pipeline_has_every_stream_at_zero(pipeline: Pipeline) -> None:
    assert pipeline.container.observer().status() == {
        "streams": {
            event_type.name: {
                "topic": event_type.topic,
                "logged": 0,
                "landed": 0,
                "dead_lettered": 0,
                "lag": 0,
                "oldest_unlanded_s": None,
                "metadata_complete": 1.0,
            }
            for event_type in (CLICKS, ORDERS)
        }
    }


def test_before_the_consumer_has_been_there_all_is_lag(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a", "b", "c"])
    found = pipeline.container.observer().status()["streams"]["clicks"]
    assert (found["logged"], found["landed"], found["lag"]) == (3, 0, 3)
    assert found["oldest_unlanded_s"] is not None
    assert 0 <= found["oldest_unlanded_s"] < 60


def test_what_landed_was_absorbed_or_dead_lettered_is_no_lag(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a", "b", "a"])
    pipeline.log(CLICKS, [b"no event"])
    pipeline.ingest()
    found = pipeline.container.observer().status()["streams"]["clicks"]
    assert (found["logged"], found["landed"], found["dead_lettered"], found["lag"]) == (4, 2, 1, 0)
    assert found["oldest_unlanded_s"] is None
    assert found["metadata_complete"] == 1.0


def test_the_age_is_that_of_the_oldest_record_that_waits(pipeline: Pipeline) -> None:
    container = pipeline.container
    pipeline.log_events(CLICKS, ["a"])
    pipeline.ingest()
    pipeline.log_events(CLICKS, ["b", "c"])
    (run,) = container.event_log().read(next(iter(_spans(pipeline))), 1, 1)
    logged_at = datetime.fromtimestamp(run.timestamps_ms[0] / 1000, container.clock().now().tzinfo)
    clock = SetClock(logged_at + timedelta(seconds=90))
    observer = container.observer(clock=clock)
    assert observer.status()["streams"]["clicks"]["oldest_unlanded_s"] == pytest.approx(90.0, abs=0.01)


def test_what_retention_took_unread_is_no_lag_any_more(tmp_path: Path) -> None:
    pipeline = Pipeline("memory", tmp_path)
    pipeline.log_events(CLICKS, map(str, range(5)))
    pipeline.container.memory_log().truncate(TopicPartition(CLICKS.topic, 0), 3)
    found = pipeline.container.observer().status()["streams"]["clicks"]
    assert (found["logged"], found["lag"]) == (5, 2)


def test_a_topic_that_was_made_again_still_counts_what_the_first_one_held(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a", "b"])
    pipeline.ingest()
    _delete_topic(pipeline, CLICKS.topic)
    pipeline.prepare()
    pipeline.log_events(CLICKS, ["c"])
    found = pipeline.container.observer().status()["streams"]["clicks"]
    assert (found["logged"], found["landed"], found["lag"]) == (3, 2, 1)


def test_it_counts_again_only_after_a_while_in_proportion_to_what_counting_took(pipeline: Pipeline) -> None:
    clock = SetClock(pipeline.container.clock().now())
    observer: Observer = pipeline.container.observer(clock=clock, patience=20.0)
    counted = observer._ledger.summary

    def slow(event_type: EventType) -> TableSummary:
        clock.seconds += 0.05
        return counted(event_type)

    observer._ledger.summary = slow  # type: ignore[method-assign]
    assert observer.status()["streams"]["clicks"]["logged"] == 0
    pipeline.log_events(CLICKS, ["a"])
    clock.seconds += 1.9  # two streams took 0.1 s: 2 s of peace
    assert observer.status()["streams"]["clicks"]["logged"] == 0
    clock.seconds += 0.2
    assert observer.status()["streams"]["clicks"]["logged"] == 1


@pytest.mark.parametrize("read", ["positions", "summary"])
def test_no_lag_means_that_all_rows_are_counted_whatever_lands_meanwhile(pipeline: Pipeline, read: str) -> None:
    pipeline.log_events(CLICKS, ["a", "b", "c"])
    observer: Observer = pipeline.container.observer()
    reading = getattr(observer._ledger, read)

    def lands_just_before(*arguments: EventType) -> object:
        pipeline.ingest()
        return reading(*arguments)

    setattr(observer._ledger, read, lands_just_before)
    found = observer.status()["streams"]["clicks"]
    assert found["landed"] == 3
    assert found["lag"] == {"positions": 0, "summary": 3}[read]


def test_recent_rows_come_newest_first(pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a", "b", "c"])
    pipeline.ingest()
    rows = pipeline.container.observer().recent("clicks", 2)
    assert [row["event_id"] for row in rows] == ["c", "b"]
    assert rows[0]["user_id"] == "u1"


def test_recent_rows_of_all_streams_are_mixed_by_when_they_landed(pipeline: Pipeline) -> None:
    for event_type, event_id in ((CLICKS, "a"), (ORDERS, "b"), (CLICKS, "c")):
        pipeline.log_events(event_type, [event_id])
        pipeline.ingest()
    assert [row["event_id"] for row in pipeline.container.observer().recent(limit=2)] == ["c", "b"]


def test_recent_rows_can_be_asked_for_by_column(pipeline: Pipeline) -> None:
    pipeline.log(CLICKS, [event(CLICKS, "a", user_id="ann"), event(CLICKS, "b", user_id="bob")])
    pipeline.log_events(ORDERS, ["o"])
    pipeline.ingest()
    observer = pipeline.container.observer()
    assert [row["event_id"] for row in observer.recent(where={"user_id": "ann"})] == ["a"]
    # Only orders have a currency: clicks are not asked.
    assert [row["event_id"] for row in observer.recent(where={"currency": "EUR"})] == ["o"]


def test_an_unknown_stream_or_column_is_named_with_what_there_is(pipeline: Pipeline) -> None:
    observer = pipeline.container.observer()
    with pytest.raises(NoSuchNameError, match=r"no stream 'nope' in the catalog; there are: clicks, orders"):
        observer.recent("nope")
    with pytest.raises(NoSuchNameError, match=r"the column colour; there are: .*item_id"):
        observer.recent("clicks", where={"colour": "red"})


def _spans(pipeline: Pipeline) -> list[TopicPartition]:
    described = pipeline.container.event_log().describe(CLICKS.topic, "flowguard")
    assert described is not None
    return [span.partition for span in described.spans]


def _delete_topic(pipeline: Pipeline, topic: str) -> None:
    log = pipeline.container.event_log()
    delete = getattr(log, "delete_topic", None) or pipeline.container.memory_log().delete_topic
    delete(topic)
