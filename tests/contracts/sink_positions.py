"""The sink's contract: claims, positions, fences."""

from __future__ import annotations

import pytest

from flowguard.domain.errors import FencedError
from flowguard.domain.ingestion import Assignment, Claim
from flowguard.domain.rows import Filtered, Merged, Move, SinkBatch
from flowguard.ports.ledger import Ledger
from flowguard.ports.sink import EventSink
from tests.builders import CLICKS, ORDERS, place, rows
from tests.contracts.sink_case import FIRST, HERE, SECOND, THERE, SinkCase, batch, claim, land, position, ranges
from tests.contracts.storage import SinkStorage


class SinkPositions(SinkCase):
    # -- claiming ----------------------------------------------------------------------------------------------------

    def test_claims_come_in_the_order_of_the_assignments(self, sink: EventSink) -> None:
        wanted = [THERE, place(ORDERS, 2), HERE, place(ORDERS, 0)]
        claims = sink.claim("consumer-1", [Assignment(one, FIRST) for one in wanted])
        assert [one.partition for one in claims] == wanted
        assert {(one.incarnation, one.next_offset) for one in claims} == {(1, None)}

    def test_claiming_nothing_gives_nothing(self, sink: EventSink) -> None:
        assert list(sink.claim("consumer-1", [])) == []

    def test_a_claim_tells_where_the_sink_stands(self, sink: EventSink) -> None:
        land(sink, rows(CLICKS, range(5)), claim(sink))
        assert claim(sink).next_offset == 5
        assert claim(sink, THERE).next_offset is None

    def test_each_claim_raises_the_epoch_of_its_partitions_only(self, sink: EventSink) -> None:
        other = claim(sink, THERE)
        epochs = [claim(sink).epoch for _ in range(3)]
        assert 0 < epochs[0] < epochs[1] < epochs[2]
        assert land(sink, rows(CLICKS, [0], partition=1), other) == Merged(1, 0)

    def test_the_ledger_tells_who_owns_what(self, sink: EventSink, ledger: Ledger) -> None:
        assert list(ledger.positions()) == []
        claim(sink, owner="consumer-1")
        newer = claim(sink, owner="consumer-2")
        claim(sink, place(ORDERS, 2), topic_id="orders-id", owner="consumer-3")
        assert position(ledger).next_offset is None
        land(sink, rows(CLICKS, range(3)), newer)
        here = position(ledger)
        assert (here.topic_id, here.owner, here.epoch, here.next_offset) == (FIRST, "consumer-2", newer.epoch, 3)
        there = position(ledger, place(ORDERS, 2))
        assert (there.topic_id, there.owner, there.next_offset) == ("orders-id", "consumer-3", None)

    # -- a topic made again ------------------------------------------------------------------------------------------

    def test_a_topic_made_again_starts_empty_and_loses_nothing(self, sink: EventSink, ledger: Ledger) -> None:
        land(sink, rows(CLICKS, range(5)), claim(sink))
        again = claim(sink, topic_id=SECOND)
        assert (again.incarnation, again.next_offset) == (2, None)
        assert land(sink, rows(CLICKS, range(3), incarnation=2), again) == Merged(3, 0)
        assert ledger.summary(CLICKS).rows == 8
        assert position(ledger, incarnation=1).next_offset == 5
        assert position(ledger, incarnation=2).next_offset == 3
        assert ledger.offsets(CLICKS, HERE, 1).landed == ranges((0, 4))
        assert ledger.offsets(CLICKS, HERE, 2).landed == ranges((0, 2))
        assert {str(row["ingestion_id"]) for row in ledger.recent(CLICKS, 3)} == {
            f"{CLICKS.topic}@2-0-{offset}" for offset in range(3)
        }

    def test_an_incarnation_is_of_the_whole_topic(self, sink: EventSink) -> None:
        claim(sink)
        assert claim(sink, THERE, SECOND).incarnation == 2
        assert claim(sink, HERE, SECOND).incarnation == 2
        assert claim(sink, place(ORDERS), SECOND).incarnation == 1

    def test_a_topic_id_that_was_seen_before_is_its_old_incarnation(self, sink: EventSink) -> None:
        land(sink, rows(CLICKS, range(5)), claim(sink))
        claim(sink, topic_id=SECOND)
        assert claim(sink, topic_id="third").incarnation == 3
        back = claim(sink, topic_id=FIRST)
        assert (back.incarnation, back.next_offset) == (1, 5)

    # -- fences ------------------------------------------------------------------------------------------------------

    def test_an_older_owner_is_fenced(self, sink: EventSink, ledger: Ledger, storage: SinkStorage) -> None:
        zombie = claim(sink, owner="zombie")
        land(sink, rows(CLICKS, range(5)), zombie)
        newer = storage.sink()
        owner = claim(newer, owner="owner")
        with pytest.raises(FencedError) as caught:
            land(sink, rows(CLICKS, range(5, 9)), zombie, expected=5)
        assert caught.value.partitions == (HERE,)
        assert (ledger.summary(CLICKS).rows, position(ledger).next_offset) == (5, 5)
        assert land(newer, rows(CLICKS, range(5, 9)), owner, expected=5) == Merged(4, 0)
        newer.close()

    def test_a_writer_that_owns_nothing_moves_no_position(self, sink: EventSink, ledger: Ledger) -> None:
        claim(sink)
        for stranger in (Claim(HERE, 1, 0, None), Claim(THERE, 1, 0, None), Claim(HERE, 7, 1, None)):
            with pytest.raises(FencedError):
                land(sink, rows(CLICKS, [0]), stranger)
        assert [one.next_offset for one in ledger.positions()] == [None]
        assert ledger.summary(CLICKS).rows == 0

    @pytest.mark.parametrize("landed", [0, 3])
    def test_a_sink_that_was_set_back_fences(self, sink: EventSink, ledger: Ledger, landed: int) -> None:
        """Where the position is below the expected one, rows between them would be missing for ever."""
        ours = claim(sink)
        if landed:
            land(sink, rows(CLICKS, range(landed)), ours)
        with pytest.raises(FencedError) as caught:
            land(sink, rows(CLICKS, range(5, 9)), ours, expected=5)
        assert caught.value.partitions == (HERE,)
        assert position(ledger).next_offset == (landed or None)
        assert ledger.summary(CLICKS).rows == landed

    def test_one_fenced_partition_stops_the_whole_batch(self, sink: EventSink, ledger: Ledger) -> None:
        zombie, fine = claim(sink), claim(sink, THERE)
        claim(sink)
        write = SinkBatch(
            (rows(CLICKS, range(3)), rows(CLICKS, range(3), partition=1)),
            (Move(fine, None, 4), Move(zombie, None, 3)),
            (Filtered(CLICKS, THERE, 1, [3]),),
        )
        with pytest.raises(FencedError) as caught:
            sink.write(write)
        assert caught.value.partitions == (HERE,)
        assert ledger.summary(CLICKS).rows == 0
        assert position(ledger, THERE).next_offset is None
        assert not ledger.offsets(CLICKS, THERE, 1).filtered
        assert not ledger.offsets(CLICKS, THERE, 1).landed

    # -- moving ------------------------------------------------------------------------------------------------------

    def test_a_position_moves_without_any_row(self, sink: EventSink, ledger: Ledger) -> None:
        """All of the batch was dead-lettered, or the offsets are a transaction's."""
        ours = claim(sink)
        report = sink.write(batch(moves=(Move(ours, None, 7),)))
        assert not any(one.inserted or one.duplicates for one in report.merged.values())
        assert position(ledger).next_offset == 7
        sink.write(batch(moves=(Move(ours, 7, 7),)))
        assert position(ledger).next_offset == 7

    def test_the_same_batch_again_after_a_lost_reply_changes_nothing(self, sink: EventSink, ledger: Ledger) -> None:
        ours = claim(sink)
        land(sink, rows(CLICKS, range(3)), ours)
        for merged in (Merged(5, 0), Merged(0, 5), Merged(0, 5)):
            assert land(sink, rows(CLICKS, range(3, 8)), ours, expected=3) == merged
        assert (ledger.summary(CLICKS).rows, position(ledger).next_offset) == (8, 8)
        offsets = ledger.offsets(CLICKS, HERE, 1)
        assert (offsets.landed, offsets.duplicates) == (ranges((0, 7)), ranges())

    def test_the_same_moves_again_after_a_lost_reply_change_nothing(self, sink: EventSink, ledger: Ledger) -> None:
        ours = claim(sink)
        for _ in range(2):
            sink.write(batch(moves=(Move(ours, None, 7),)))
        assert position(ledger).next_offset == 7

    def test_beyond_the_expected_position_what_exists_is_skipped_and_the_rest_lands(
        self, sink: EventSink, ledger: Ledger
    ) -> None:
        ours = claim(sink)
        land(sink, rows(CLICKS, [0, 1, 2, 3, 5, 6]), ours)
        assert land(sink, rows(CLICKS, range(2, 10)), ours, expected=2) == Merged(4, 4)
        assert ledger.offsets(CLICKS, HERE, 1).landed == ranges((0, 9))
        assert position(ledger).next_offset == 10

    def test_a_position_never_goes_back(self, sink: EventSink, ledger: Ledger) -> None:
        ours = claim(sink)
        land(sink, rows(CLICKS, range(10)), ours)
        assert land(sink, rows(CLICKS, range(3, 6)), ours, expected=3) == Merged(0, 3)
        assert position(ledger).next_offset == 10

    def test_what_an_owner_left_is_there_for_the_next(self, sink: EventSink, storage: SinkStorage) -> None:
        ours = claim(sink)
        land(sink, rows(CLICKS, range(5)), ours)
        sink.close()
        reopened = storage.sink()
        assert reopened.claim("next", [Assignment(HERE, FIRST)])[0].next_offset == 5
        assert claim(reopened, topic_id=SECOND).incarnation == 2
        reopened.close()
