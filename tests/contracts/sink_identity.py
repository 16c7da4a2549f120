"""The sink's contract: what is one and the same, and lands once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from flowguard.domain.errors import TransientError
from flowguard.domain.ingestion import IngestionId
from flowguard.domain.rows import Merged, Move
from flowguard.ports.ledger import Ledger
from flowguard.ports.sink import EventSink
from tests.builders import CLICKS, ORDERS, event, place, rows
from tests.contracts.sink_case import HERE, SECOND, THERE, SinkCase, batch, claim, land, position, ranges
from tests.contracts.storage import SinkStorage


class SinkIdentity(SinkCase):
    # -- the same place in the log -----------------------------------------------------------------------------------

    def test_a_replay_of_what_landed_adds_nothing(self, sink: EventSink, ledger: Ledger) -> None:
        """The reference scenario: 242 clicks, read again from 237, still 242."""
        land(sink, rows(CLICKS, range(242)), claim(sink))
        report = sink.write(batch(rows(CLICKS, range(237, 242))))
        assert report.merged == {"clicks": Merged(0, 5)}
        assert (ledger.summary(CLICKS).rows, position(ledger).next_offset) == (242, 242)
        offsets = ledger.offsets(CLICKS, HERE, 1)
        assert (offsets.landed, offsets.duplicates) == (ranges((0, 241)), ranges())

    def test_a_replay_fills_in_what_is_missing_and_moves_nothing(self, sink: EventSink, ledger: Ledger) -> None:
        land(sink, rows(CLICKS, [0, 1, 4]), claim(sink))
        report = sink.write(batch(rows(CLICKS, range(5))))
        assert report.merged == {"clicks": Merged(2, 3)}
        assert ledger.offsets(CLICKS, HERE, 1).landed == ranges((0, 4))
        assert position(ledger).next_offset == 5

    def test_a_replay_of_a_partition_that_was_never_claimed_lands(self, sink: EventSink, ledger: Ledger) -> None:
        for merged in (Merged(3, 0), Merged(0, 3)):
            assert sink.write(batch(rows(CLICKS, range(3)))).merged == {"clicks": merged}
        assert ledger.summary(CLICKS).rows == 3
        assert list(ledger.positions()) == []

    def test_a_replay_ahead_of_the_position_is_not_doubled_by_its_owner(self, sink: EventSink, ledger: Ledger) -> None:
        ours = claim(sink)
        land(sink, rows(CLICKS, range(3)), ours)
        sink.write(batch(rows(CLICKS, range(4, 6))))
        assert land(sink, rows(CLICKS, range(3, 8)), ours, expected=3) == Merged(3, 2)
        assert (ledger.summary(CLICKS).rows, position(ledger).next_offset) == (8, 8)
        assert ledger.offsets(CLICKS, HERE, 1).duplicates == ranges()

    def test_a_move_beside_a_replay(self, sink: EventSink, ledger: Ledger) -> None:
        """Rows of a partition without a move are merged; those with one are new."""
        land(sink, rows(CLICKS, range(3), partition=1), claim(sink, THERE))
        ours = claim(sink)
        report = sink.write(
            batch(rows(CLICKS, range(5), partition=1), rows(CLICKS, range(4)), moves=(Move(ours, None, 4),))
        )
        assert report.merged == {"clicks": Merged(6, 3)}
        assert (position(ledger).next_offset, position(ledger, THERE).next_offset) == (4, 3)

    def test_writers_at_the_same_time_land_a_row_once(self, ledger: Ledger, storage: SinkStorage) -> None:
        def write(start: int) -> int:
            sink = storage.sink()
            inserted = 0
            for low in range(start, 40, 5):
                while True:
                    try:
                        inserted += sink.write(batch(rows(CLICKS, range(low, low + 10)))).merged["clicks"].inserted
                    except TransientError:
                        continue
                    break
            sink.close()
            return inserted

        with ThreadPoolExecutor(3) as pool:
            inserted = sum(pool.map(write, (0, 0, 5)))
        assert inserted == ledger.summary(CLICKS).rows == 45
        assert list(ledger.doubled(CLICKS)) == []

    # -- the same event ----------------------------------------------------------------------------------------------

    def test_an_event_that_was_logged_twice_lands_once(self, sink: EventSink, ledger: Ledger) -> None:
        """A browser that sent it again: the log has it at two offsets."""
        ours = claim(sink)
        land(sink, rows(CLICKS, {0: event(CLICKS, "a"), 1: event(CLICKS, "b")}), ours)
        again = {2: event(CLICKS, "c"), 3: event(CLICKS, "a", user_id="other"), 4: event(CLICKS, "d")}
        assert land(sink, rows(CLICKS, again), ours, expected=2) == Merged(2, 1)
        offsets = ledger.offsets(CLICKS, HERE, 1)
        assert (offsets.landed, offsets.duplicates) == (ranges((0, 2), (4, 4)), ranges((3, 3)))
        assert position(ledger).next_offset == 5
        (kept,) = ledger.recent(CLICKS, 10, {"event_id": "a"})
        assert (kept["source_offset"], kept["user_id"]) == (0, "u1")

    def test_a_duplicate_event_that_is_read_again_is_remembered_once(self, sink: EventSink, ledger: Ledger) -> None:
        ours = claim(sink)
        values = {0: event(CLICKS, "a"), 1: event(CLICKS, "a"), 2: event(CLICKS, "b")}
        for merged in (Merged(2, 1), Merged(0, 3)):
            assert land(sink, rows(CLICKS, values), ours) == merged
        offsets = ledger.offsets(CLICKS, HERE, 1)
        assert (offsets.landed, offsets.duplicates) == (ranges((0, 0), (2, 2)), ranges((1, 1)))

    def test_the_same_event_twice_in_one_batch_lands_once(self, sink: EventSink, ledger: Ledger) -> None:
        claims = claim(sink), claim(sink, THERE)
        same = event(CLICKS, "a")
        report = sink.write(
            batch(
                rows(CLICKS, {0: same, 3: event(CLICKS, "b"), 5: same}),
                rows(CLICKS, {7: same, 8: event(CLICKS, "c")}, partition=1),
                moves=(Move(claims[0], None, 6), Move(claims[1], None, 9)),
            )
        )
        assert report.merged == {"clicks": Merged(3, 2)}
        here, there = ledger.offsets(CLICKS, HERE, 1), ledger.offsets(CLICKS, THERE, 1)
        assert len(here.landed) + len(there.landed) == 3
        assert here.landed | here.duplicates == ranges((0, 0), (3, 3), (5, 5))
        assert there.landed | there.duplicates == ranges((7, 8))

    @pytest.mark.parametrize("incarnation", [1, 2])
    def test_an_event_lands_once_over_all_partitions_and_makings_of_the_topic(
        self, sink: EventSink, ledger: Ledger, incarnation: int
    ) -> None:
        land(sink, rows(CLICKS, {0: event(CLICKS, "a")}), claim(sink))
        other = claim(sink, THERE, SECOND if incarnation > 1 else "first-making-of-the-topic")
        again = rows(CLICKS, {0: event(CLICKS, "a"), 1: event(CLICKS, "b")}, partition=1, incarnation=incarnation)
        assert land(sink, again, other) == Merged(1, 1)
        assert ledger.offsets(CLICKS, THERE, incarnation).duplicates == ranges((0, 0))

    def test_the_same_id_from_another_service_or_of_another_type_is_another_event(
        self, sink: EventSink, ledger: Ledger
    ) -> None:
        report = sink.write(
            batch(
                rows(CLICKS, {0: event(CLICKS, "a"), 1: event(CLICKS, "a", source="other-shop")}),
                rows(ORDERS, {0: event(ORDERS, "a")}),
            )
        )
        assert report.merged == {"clicks": Merged(2, 0), "orders": Merged(1, 0)}
        again = rows(CLICKS, {2: event(CLICKS, "a", source="third-shop"), 3: event(CLICKS, "b")})
        assert sink.write(batch(again)).merged == {"clicks": Merged(2, 0)}
        assert ledger.summary(CLICKS).rows == 4

    def test_service_and_id_are_not_mixed_up(self, sink: EventSink) -> None:
        values = {0: event(CLICKS, "b/c", source="a"), 1: event(CLICKS, "c", source="a/b")}
        assert sink.write(batch(rows(CLICKS, values))).merged == {"clicks": Merged(2, 0)}

    # -- a dead letter that was relayed ------------------------------------------------------------------------------

    def test_a_relayed_record_lands_once_under_its_first_id(self, sink: EventSink, ledger: Ledger) -> None:
        ours = claim(sink)
        land(sink, rows(CLICKS, [0, 2]), ours)
        first = IngestionId(CLICKS.topic, 1, 0, 1)
        mended = rows(CLICKS, {3: event(CLICKS, "mended")}, first_ids={3: first})
        assert land(sink, mended, ours, expected=3) == Merged(1, 0)
        relayed_twice = rows(CLICKS, {4: event(CLICKS, "mended otherwise")}, first_ids={4: first})
        assert land(sink, relayed_twice, ours, expected=4) == Merged(0, 1)
        read_again = rows(CLICKS, {1: event(CLICKS, "as it was")})
        assert sink.write(batch(read_again)).merged == {"clicks": Merged(0, 1)}
        offsets = ledger.offsets(CLICKS, HERE, 1)
        assert (offsets.landed, offsets.duplicates) == (ranges((0, 0), (2, 3)), ranges((1, 1), (4, 4)))
        (row,) = ledger.recent(CLICKS, 9, {"ingestion_id": str(first)})
        assert (row["event_id"], row["source_offset"]) == ("mended", 3)

    def test_a_record_that_had_landed_and_is_relayed_is_a_duplicate(self, sink: EventSink, ledger: Ledger) -> None:
        ours = claim(sink)
        land(sink, rows(CLICKS, range(3)), ours)
        first = IngestionId(CLICKS.topic, 1, 0, 1)
        relayed = rows(CLICKS, {3: event(CLICKS, "another id"), 4: event(CLICKS, "x")}, first_ids={3: first})
        assert land(sink, relayed, ours, expected=3) == Merged(1, 1)
        assert ledger.offsets(CLICKS, HERE, 1).duplicates == ranges((3, 3))

    def test_one_record_relayed_twice_into_one_batch_lands_once(self, sink: EventSink, ledger: Ledger) -> None:
        first = IngestionId(CLICKS.topic, 1, 2, 77)
        twice = rows(CLICKS, {3: event(CLICKS, "x"), 4: event(CLICKS, "y")}, first_ids={3: first, 4: first})
        assert land(sink, twice, claim(sink)) == Merged(1, 1)
        assert ledger.offsets(CLICKS, HERE, 1).landed == ranges((3, 3))
        assert ledger.offsets(CLICKS, place(CLICKS, 2), 1).landed == ranges()
