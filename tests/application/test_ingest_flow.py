"""A consumer on its own threads: what it lands, commits and gives up, from start to stop."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from flowguard.application.ingest import LineStoppedError
from flowguard.application.ingest_ports import Pace
from flowguard.domain.batching import Batch, BatchPolicy, FlowPolicy
from flowguard.domain.dead_letters import DeadLetterPolicy, Reason
from flowguard.domain.errors import PermanentError
from flowguard.domain.ingestion import Claim, TopicPartition
from flowguard.domain.rows import SinkBatch
from flowguard.domain.telemetry import (
    FlowChanged,
    LineStopped,
    PositionsCommitted,
    RecordsDeadLettered,
    RowsMerged,
)
from tests.application.ingesting import DEADLINE_S, Gate, Policies, Rig
from tests.builders import CLICKS, MEASUREMENTS, ORDERS, event, place

HELD_BACK = BatchPolicy(max_records=10_000, max_age_s=10 * DEADLINE_S)
"""Nothing is written before its time, unless the consumer drains."""
FUTURE = event(CLICKS, "future").replace(b'"data"', b'"schemaversion":9,"data"')


def test_all_that_is_logged_lands_once_and_is_committed() -> None:
    rig = Rig(partitions=3)
    rig.publish_clicks(0, 99)
    rig.publish((event(ORDERS, f"o{number}") for number in range(30)), ORDERS)
    with rig.running() as member:
        member.until(lambda: rig.rows() == 100)
        rig.publish_clicks(100, 149)
        member.until(lambda: rig.rows() == 150 and rig.rows(ORDERS) == 30)

    assert rig.landed() == sorted(f"e{number}" for number in range(150))
    assert [rig.committed(number) for number in range(3)] == [50, 50, 50]
    assert [rig.committed(number, ORDERS) for number in range(3)] == [10, 10, 10]
    assert (rig.audit().ok, rig.audit().landed, rig.audit(ORDERS).landed) == (True, 150, 30)
    merged = member.happenings.of(RowsMerged)
    assert sum(one.inserted for one in merged if one.stream == "clicks") == 150
    assert sum(one.duplicates for one in merged) == 0
    assert member.source.closed


def test_no_batch_is_larger_than_the_policy_says() -> None:
    rig = Rig()
    rig.publish_clicks(0, 34)
    with rig.running() as member:
        member.until(lambda: rig.rows() == 35)
    assert all(len(batch) <= 10 for batch in member.sink.written)


@pytest.mark.parametrize(("last_write_s", "prepared"), [(0.05, True), (5.0, False)])
def test_the_next_batch_is_decoded_while_a_sink_that_is_not_slow_is_busy(last_write_s: float, prepared: bool) -> None:
    rig = Rig()
    gate = Gate()
    rig.publish_clicks(0, 34)
    member = rig.member()
    ahead: list[int] = []
    writer = member.ingestion._writer
    prepare = writer.prepare

    def noting(batch: Batch, claims: Mapping[TopicPartition, Claim]) -> None:
        ahead.append(batch.number)
        prepare(batch, claims)

    writer.prepare = noting  # type: ignore[method-assign]
    member.ingestion._write_s = last_write_s
    member.sink.before_write = gate
    member.start()
    gate.until_reached()
    member.until(lambda: member.source.records == 35)
    polls = member.source.polls
    member.until(lambda: member.source.polls > polls + 5)
    assert bool(ahead) is prepared
    gate.open()
    member.until(lambda: rig.rows() == 35)
    member.stop()
    assert rig.landed() == sorted(f"e{number}" for number in range(35))


def test_poison_goes_to_the_dead_letters_as_it_was_and_its_neighbours_land() -> None:
    rig = Rig()
    rig.publish_clicks(0, 4)
    rig.publish([b"no json \xff", FUTURE, event(CLICKS, "invalid", user_id="")], headers=(("trace", b"1"),))
    rig.publish_clicks(5, 9)
    with rig.running() as member:
        member.until(lambda: rig.rows() == 10)

    letters = rig.letters()
    assert [(one.ingestion_id.offset, one.reason, one.event_id) for one in letters] == [
        (5, Reason.MALFORMED, None),
        (6, Reason.UNKNOWN_SCHEMA_VERSION, "future"),
        (7, Reason.INVALID, "invalid"),
    ]
    assert (letters[0].value, letters[0].key, letters[0].headers) == (b"no json \xff", b"k", (("trace", b"1"),))
    assert str(letters[0].ingestion_id) == "raw.clicks.v1-0-5"
    assert letters[0].timestamp_ms > 0
    assert rig.committed() == 13
    assert (rig.audit().ok, rig.audit().dead_lettered) == (True, 3)
    told = member.happenings.of(RecordsDeadLettered)
    assert {one.reason: one.count for one in told} == {one.reason: 1 for one in letters}
    assert {one.stream for one in told} == {"clicks"}
    assert "raw.clicks.v1-0 offset 5" in told[0].example


def test_a_row_that_the_sink_names_is_dead_lettered_and_the_others_land() -> None:
    rig = Rig()
    too_large = event(MEASUREMENTS, "m2", count=str(2**63))
    rig.publish([event(MEASUREMENTS, "m1"), too_large, event(MEASUREMENTS, "m3")], MEASUREMENTS)
    with rig.running() as member:
        member.until(lambda: rig.rows(MEASUREMENTS) == 2)

    [letter] = rig.letters()
    assert (letter.ingestion_id.offset, letter.reason, letter.value) == (1, Reason.REJECTED_BY_SINK, too_large)
    assert "does not fit 64 bits" in letter.error
    assert rig.audit(MEASUREMENTS).ok


def test_a_row_that_the_sink_cannot_name_is_found_by_bisecting() -> None:
    rig = Rig()
    rig.publish_clicks(0, 63)

    def refuse(batch: SinkBatch) -> None:
        if any(offset in {7, 40} for rows in batch.rows for offset in rows.offsets):
            raise PermanentError("something in it")

    member = rig.member(Policies(batch=BatchPolicy(max_records=64, max_age_s=0.0)))
    member.sink.before_write = refuse
    member.start()
    member.until(lambda: rig.rows() == 62)
    member.stop()

    assert [(one.ingestion_id.offset, one.reason) for one in rig.letters()] == [
        (7, Reason.REJECTED_BY_SINK),
        (40, Reason.REJECTED_BY_SINK),
    ]
    assert rig.committed() == 64
    assert rig.audit().ok


def test_a_storm_of_dead_letters_stops_the_line_and_the_caller_is_told() -> None:
    rig = Rig()
    rig.publish_clicks(0, 4)
    rig.publish([FUTURE] * 50)
    member = rig.member(Policies(dead_letters=DeadLetterPolicy(max_consecutive=20, max_ratio=0))).start()
    member.join()

    assert isinstance(member.error, LineStoppedError)
    assert "a storm of dead letters: " in str(member.error)
    assert "unknown_schema_version" in str(member.error)
    assert [one.reason for one in member.happenings.of(LineStopped)] == [str(member.error)]
    assert member.source.closed
    assert len(rig.letters()) <= 20
    assert rig.audit().in_flight >= 30
    assert rig.audit().ok


def test_after_a_storm_was_mended_the_next_consumer_goes_on_where_the_line_stopped() -> None:
    rig = Rig()
    rig.publish_clicks(0, 4)
    rig.publish([FUTURE] * 50)
    rig.publish_clicks(5, 9)
    stopped = rig.member(Policies(dead_letters=DeadLetterPolicy(max_consecutive=20, max_ratio=0))).start()
    stopped.join()

    with rig.running() as member:
        member.until(lambda: rig.rows() == 10)
    assert len(rig.letters()) == 50
    assert rig.committed() == 60
    assert rig.audit().ok


def test_stopping_drains_what_is_held_and_commits_it() -> None:
    rig = Rig(partitions=2)
    rig.publish_clicks(0, 99)
    member = rig.member(Policies(batch=HELD_BACK)).start()
    member.until(lambda: member.source.records == 100)
    assert rig.rows() == 0

    member.stop()

    assert rig.landed() == sorted(f"e{number}" for number in range(100))
    assert [rig.committed(number) for number in range(2)] == [50, 50]
    assert member.source.closed
    assert rig.audit().ok


def test_stopping_dead_letters_what_is_held_too() -> None:
    rig = Rig()
    rig.publish([FUTURE, event(CLICKS, "e1"), b"?"])
    member = rig.member(Policies(batch=HELD_BACK)).start()
    member.until(lambda: member.source.records == 3)
    member.stop()

    assert rig.landed() == ["e1"]
    assert [one.ingestion_id.offset for one in rig.letters()] == [0, 2]
    assert rig.committed() == 3


def test_a_storm_that_shows_while_draining_is_told_to_the_caller() -> None:
    rig = Rig()
    rig.publish([FUTURE] * 50)
    storm = DeadLetterPolicy(max_consecutive=20, max_ratio=0)
    member = rig.member(Policies(batch=HELD_BACK, dead_letters=storm)).start()
    member.until(lambda: member.source.records == 50)

    with pytest.raises(LineStoppedError, match="records in a row were rejected"):
        member.stop()
    assert rig.letters() == []
    assert rig.committed() is None
    assert member.source.closed


def test_a_sink_that_hangs_cannot_keep_the_consumer_from_stopping() -> None:
    rig = Rig()
    rig.publish_clicks(0, 0)
    gate = Gate()
    member = rig.member(Policies(pace=Pace(idle_s=0.02, busy_s=0.005, drain_s=0.05)))
    member.sink.before_write = gate
    member.start()
    gate.until_reached()

    member.ask_to_stop()
    member.until_ended()
    assert member.error is None
    assert rig.committed() is None

    gate.open()
    member.join()
    with rig.running() as successor:
        successor.until(lambda: rig.committed() == 1)
    assert rig.landed() == ["e0"]


def test_a_slow_sink_pauses_reading_while_polling_goes_on() -> None:
    rig = Rig()
    gate = Gate()
    flow = FlowPolicy(high_bytes=8_000, low_bytes=3_000)
    member = rig.member(Policies(flow=flow))
    member.sink.before_write = gate
    rig.publish_clicks(0, 199)
    member.start()
    member.until_told(FlowChanged)

    [paused] = member.happenings.of(FlowChanged)
    assert paused.paused
    assert flow.high_bytes <= paused.held_bytes < flow.high_bytes + 2_000
    polls, records = member.source.polls, member.source.records
    member.until(lambda: member.source.polls > polls + 5)
    assert member.source.records == records < 200

    gate.open()
    member.until(lambda: rig.rows() == 200)
    member.stop()
    switches = [one.paused for one in member.happenings.of(FlowChanged)]
    assert switches == [True, False] * (len(switches) // 2)
    assert all(one.held_bytes <= flow.low_bytes for one in member.happenings.of(FlowChanged) if not one.paused)
    assert rig.committed() == 200


def test_the_group_is_told_of_every_position_once_it_is_resolved_and_not_before() -> None:
    rig = Rig()
    rig.publish_clicks(0, 39)
    with rig.running() as member:
        member.until(lambda: rig.committed() == 40)
    committed = [position for one in member.happenings.of(PositionsCommitted) for position in one.positions]
    assert {partition for partition, _ in committed} == {place(CLICKS)}
    reached = [offset for _, offset in committed]
    assert reached == sorted(reached)
    assert reached[-1] == 40
