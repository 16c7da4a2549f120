"""Carrying out one Write: what is written, what is found to be bad, and that nothing is decoded twice."""

from __future__ import annotations

from datetime import datetime

import pytest

from flowguard.adapters.memory import MemoryLedger, MemoryWarehouse
from flowguard.adapters.system import SystemClock
from flowguard.application.writing import BatchWriter, Landed, letters_of
from flowguard.domain.batching import Batch
from flowguard.domain.catalog import Catalog, EventType
from flowguard.domain.dead_letters import Reason, Rejection
from flowguard.domain.decisions import Advance, Write
from flowguard.domain.decoding import BatchDecoder, Decoded
from flowguard.domain.errors import TransientError
from flowguard.domain.ingestion import Assignment, Claim, RecordRun, TopicPartition
from flowguard.domain.rows import Merged
from tests.application.ingesting import ScriptedSink, first_times
from tests.builders import CLICKS, event, place, run

LANDS, ALSO = place(CLICKS, 0), place(CLICKS, 1)
KEPT = EventType("clicks", CLICKS.model, key="user_id", keep=lambda click: click.page != "/drop")


class Counting(BatchDecoder):
    """Counts the batches that it decodes."""

    decoded = 0

    def decode(self, batch: Batch, claims: dict[TopicPartition, Claim], ingested_at: datetime) -> Decoded:
        self.decoded += 1
        return super().decode(batch, claims, ingested_at)


class Desk:
    """A writer on a memory sink, and the claims of two partitions."""

    def __init__(self, event_type: EventType = CLICKS) -> None:
        self.warehouse = MemoryWarehouse()
        self.sink = ScriptedSink(self.warehouse)
        self.decoder = Counting(Catalog([event_type]))
        self.writer = BatchWriter(self.decoder, self.sink, SystemClock())
        claims = self.sink.claim("test", [Assignment(LANDS, "made"), Assignment(ALSO, "made")])
        self.claims = {claim.partition: claim for claim in claims}
        self.event_type = event_type

    def write(self, batch: Batch, expected: int | None = None) -> Landed | list[Rejection]:
        advances = tuple(Advance(partition, expected, reached) for partition, reached in batch.positions)
        return self.writer.write(Write(batch, advances), self.claims)

    def landed(self) -> list[tuple[str, str]]:
        rows = MemoryLedger(self.warehouse).recent(self.event_type, 100)
        return sorted((str(row["source_partition"]), str(row["event_id"])) for row in rows)

    def positions(self) -> dict[TopicPartition, int | None]:
        return {one.partition: one.next_offset for one in MemoryLedger(self.warehouse).positions()}


def clicks(*numbers: int, where: TopicPartition = LANDS, page: str | None = None) -> RecordRun:
    return run(where, {number: event(CLICKS, f"e{where.partition}{number}", page=page) for number in numbers})


def test_good_records_land_with_their_positions() -> None:
    desk = Desk()
    landed = desk.write(Batch(1, (clicks(3, 5), clicks(0, where=ALSO))))

    assert isinstance(landed, Landed)
    assert dict(landed.report.merged) == {"clicks": Merged(3, 0)}
    assert desk.landed() == [("0", "e03"), ("0", "e05"), ("1", "e10")]
    assert desk.positions() == {LANDS: 6, ALSO: 1}


def test_bad_records_are_named_and_nothing_is_written() -> None:
    desk = Desk()
    bad = Batch(1, (clicks(0), run(LANDS, {1: b"?", 2: event(CLICKS, "e2", user_id="")}), clicks(0, where=ALSO)))
    found = desk.write(bad)

    assert isinstance(found, list)
    assert [(one.partition, one.offset, one.reason) for one in found] == [
        (LANDS, 1, Reason.MALFORMED),
        (LANDS, 2, Reason.INVALID),
    ]
    assert desk.landed() == []
    assert desk.positions() == {LANDS: None, ALSO: None}


def test_once_the_bad_ones_are_excluded_the_rest_lands_without_being_decoded_again() -> None:
    desk = Desk()
    batch = Batch(1, (run(LANDS, {0: b"?"}), clicks(1), clicks(0, where=ALSO)))
    desk.write(batch)
    desk.write(batch.excluding([(LANDS, 0)]))

    assert desk.landed() == [("0", "e01"), ("1", "e10")]
    assert desk.positions() == {LANDS: 2, ALSO: 1}
    assert desk.decoder.decoded == 1


def test_a_batch_without_a_good_record_moves_its_position_only() -> None:
    desk = Desk()
    landed = desk.write(Batch(1, (run(LANDS, {0: b"?", 4: b"?"}),), frozenset({(LANDS, 0), (LANDS, 4)})))
    assert isinstance(landed, Landed)
    assert (desk.landed(), desk.positions()[LANDS]) == ([], 5)


def test_a_batch_that_failed_is_written_again_without_being_decoded_again() -> None:
    desk = Desk()
    desk.sink.before_write = first_times(2, TransientError("down"))
    batch = Batch(1, (clicks(0, 1),))
    for _ in range(2):
        with pytest.raises(TransientError):
            desk.write(batch)
    desk.write(batch)
    assert desk.landed() == [("0", "e00"), ("0", "e01")]
    assert desk.decoder.decoded == 1


def test_of_partitions_that_went_since_it_was_decoded_nothing_is_written_and_nothing_is_blamed() -> None:
    desk = Desk(KEPT)
    desk.sink.before_write = first_times(1, TransientError("down"))
    batch = Batch(1, (clicks(0), clicks(1, page="/drop"), clicks(0, where=ALSO), clicks(1, where=ALSO, page="/drop")))
    with pytest.raises(TransientError):
        desk.write(batch)

    landed = desk.write(batch.without_partitions([LANDS]))

    assert isinstance(landed, Landed)
    assert landed.filtered == {"clicks": 1}
    assert desk.landed() == [("1", "e10")]
    assert desk.positions() == {LANDS: None, ALSO: 2}

    poisoned = Batch(2, (run(LANDS, {5: b"?"}), clicks(5, where=ALSO)))
    assert isinstance(desk.write(poisoned), list)
    assert isinstance(desk.write(poisoned.without_partitions([LANDS]), 2), Landed)


def test_halves_of_a_batch_are_decoded_on_their_own() -> None:
    desk = Desk()
    batch = Batch(1, (clicks(0, 1, 2, 3),))
    desk.sink.before_write = first_times(1, TransientError("down"))
    with pytest.raises(TransientError):
        desk.write(batch)
    first, second = batch.halves(iter((2, 3)))
    desk.write(first)
    desk.write(second, 2)
    assert [number for _, number in desk.landed()] == ["e00", "e01", "e02", "e03"]
    assert desk.positions()[LANDS] == 4


def test_what_a_rule_filters_is_told_to_the_sink_and_counted() -> None:
    desk = Desk(KEPT)
    landed = desk.write(Batch(1, (clicks(0, 2), clicks(3, 7, page="/drop"))))

    assert isinstance(landed, Landed)
    assert landed.filtered == {"clicks": 2}
    offsets = MemoryLedger(desk.warehouse).offsets(KEPT, LANDS, 1)
    assert (list(offsets.landed), list(offsets.filtered)) == ([(0, 0), (2, 2)], [(3, 3), (7, 7)])
    assert desk.positions()[LANDS] == 8


def test_a_claim_that_owns_nothing_moves_nothing() -> None:
    desk = Desk()
    desk.claims = {LANDS: Claim(LANDS, 1, 0, None)}
    landed = desk.write(Batch(1, (clicks(3),)))
    assert isinstance(landed, Landed)
    assert (desk.landed(), desk.positions()[LANDS]) == ([("0", "e03")], None)


def test_a_stream_is_named_by_its_event_type_and_an_unknown_topic_by_itself() -> None:
    desk = Desk()
    assert (desk.writer.stream_of("raw.clicks.v1"), desk.writer.stream_of("raw.x")) == ("clicks", "raw.x")


def test_dead_letters_carry_the_record_as_it_was() -> None:
    one = RecordRun(LANDS, [3, 9], [b"a", b"b"], [11, 12], [b"k", None], [(("h", b"1"),), ()])
    other = RecordRun(ALSO, [3], [b"c"], [13])
    rejections = (
        Rejection(LANDS, 9, Reason.MALFORMED, "bad"),
        Rejection(ALSO, 3, Reason.INVALID, "worse", "e3"),
    )
    claims = {LANDS: Claim(LANDS, 2, 1, None), ALSO: Claim(ALSO, 1, 1, None)}

    letters = letters_of(Batch(1, (one, other)), rejections, claims)

    assert [(str(two.ingestion_id), two.reason, two.error, two.event_id) for two in letters] == [
        ("raw.clicks.v1@2-0-9", Reason.MALFORMED, "bad", None),
        ("raw.clicks.v1-1-3", Reason.INVALID, "worse", "e3"),
    ]
    assert [(two.key, two.value, two.headers, two.timestamp_ms) for two in letters] == [
        (None, b"b", (), 12),
        (None, b"c", (), 13),
    ]
    [first] = letters_of(Batch(1, (one,)), (Rejection(LANDS, 3, Reason.INVALID, "x"),), claims)
    assert (first.key, first.headers, first.timestamp_ms) == (b"k", (("h", b"1"),), 11)
