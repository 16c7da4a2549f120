"""The sink's contract: what one write holds, all or nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from flowguard.domain.errors import PermanentError
from flowguard.domain.rows import Filtered, Merged, Move, SinkBatch
from flowguard.ports.ledger import Ledger
from flowguard.ports.sink import EventSink
from tests.builders import CLICKS, MEASUREMENTS, ORDERS, event, place, rows
from tests.contracts.sink_case import HERE, THERE, SinkCase, batch, claim, land, position, ranges
from tests.contracts.storage import SinkStorage

TOO_LARGE = [2**63, -(2**63) - 1, 10**30]
LARGEST = [2**63 - 1, -(2**63), 0]


class SinkWrites(SinkCase):
    def test_one_batch_of_several_types_and_partitions(self, sink: EventSink, ledger: Ledger) -> None:
        claims = [claim(sink, one) for one in (HERE, THERE, place(ORDERS, 1))]
        report = sink.write(
            batch(
                rows(CLICKS, range(3)),
                rows(ORDERS, range(20, 22), partition=1),
                rows(CLICKS, range(10, 15), partition=1),
                rows(CLICKS, range(3, 5)),
                moves=tuple(Move(one, None, end) for one, end in zip(claims, (5, 15, 22), strict=True)),
            )
        )
        assert report.merged == {"clicks": Merged(10, 0), "orders": Merged(2, 0)}
        assert (ledger.summary(CLICKS).rows, ledger.summary(ORDERS).rows) == (10, 2)
        assert ledger.offsets(CLICKS, HERE, 1).landed == ranges((0, 4))
        assert ledger.offsets(CLICKS, THERE, 1).landed == ranges((10, 14))
        assert ledger.offsets(ORDERS, place(ORDERS, 1), 1).landed == ranges((20, 21))
        assert [position(ledger, one.partition).next_offset for one in claims] == [5, 15, 22]

    def test_one_type_in_two_topics_makings_in_one_batch(self, sink: EventSink, ledger: Ledger) -> None:
        """Two makings of a topic count apart, though their offsets are the same."""
        report = sink.write(batch(rows(CLICKS, range(3)), rows(CLICKS, range(3), incarnation=2)))
        assert report.merged == {"clicks": Merged(6, 0)}

    def test_an_empty_batch_is_fine(self, sink: EventSink) -> None:
        assert not sink.write(batch()).merged

    def test_offsets_with_gaps(self, sink: EventSink, ledger: Ledger) -> None:
        ours = claim(sink)
        assert land(sink, rows(CLICKS, [3, 7, 8, 100]), ours) == Merged(4, 0)
        assert land(sink, rows(CLICKS, [205, 207]), ours, expected=101) == Merged(2, 0)
        assert ledger.offsets(CLICKS, HERE, 1).landed == ranges((3, 3), (7, 8), (100, 100), (205, 205), (207, 207))
        assert position(ledger).next_offset == 208

    def test_large_batches(self, sink: EventSink, ledger: Ledger) -> None:
        """More rows than one statement of any database takes values."""
        ours = claim(sink)
        assert land(sink, rows(CLICKS, range(5_000)), ours) == Merged(5_000, 0)
        assert land(sink, rows(CLICKS, range(2_500, 7_500)), ours, expected=2_500) == Merged(2_500, 2_500)
        assert ledger.offsets(CLICKS, HERE, 1).landed == ranges((0, 7_499))
        assert ledger.summary(CLICKS).rows == 7_500

    # -- filtered offsets --------------------------------------------------------------------------------------------

    def test_filtered_offsets_are_remembered(self, sink: EventSink, ledger: Ledger) -> None:
        ours = claim(sink)
        write = SinkBatch((rows(CLICKS, [0, 3]),), (Move(ours, None, 6),), (Filtered(CLICKS, HERE, 1, [1, 2, 5]),))
        for merged in (Merged(2, 0), Merged(0, 2)):
            assert sink.write(write).merged == {"clicks": merged}
            offsets = ledger.offsets(CLICKS, HERE, 1)
            assert (offsets.landed, offsets.filtered) == (ranges((0, 0), (3, 3)), ranges((1, 2), (5, 5)))
        assert not ledger.offsets(CLICKS, THERE, 1).filtered
        assert not ledger.offsets(CLICKS, HERE, 2).filtered
        assert not ledger.offsets(ORDERS, HERE, 1).filtered

    def test_a_batch_of_which_all_is_filtered(self, sink: EventSink, ledger: Ledger) -> None:
        ours = claim(sink)
        filtered = (Filtered(CLICKS, HERE, 1, [0, 1]), Filtered(CLICKS, HERE, 1, [2]))
        sink.write(SinkBatch((), (Move(ours, None, 3),), filtered))
        assert ledger.offsets(CLICKS, HERE, 1).filtered == ranges((0, 2))
        assert position(ledger).next_offset == 3

    # -- what no sink can hold ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("number", TOO_LARGE)
    def test_an_integer_beyond_64_bits_is_refused_and_nothing_is_written(
        self, sink: EventSink, ledger: Ledger, number: int
    ) -> None:
        """A producer that sent it as text: the model takes it, and no column can."""
        claims = claim(sink, place(MEASUREMENTS)), claim(sink)
        events = {offset: event(MEASUREMENTS, f"e{offset}") for offset in range(4)}
        events[2] = event(MEASUREMENTS, "large", count=str(number))
        moves = Move(claims[0], None, 4), Move(claims[1], None, 2)
        filtered = (Filtered(CLICKS, HERE, 1, [0]),)
        with pytest.raises(PermanentError) as caught:
            sink.write(SinkBatch((rows(CLICKS, [1]), rows(MEASUREMENTS, events)), moves, filtered))
        # A sink that cannot name the row says nothing; one that can must not blame a neighbour.
        assert [(one.partition, one.offset) for one in caught.value.rows] in ([], [(place(MEASUREMENTS), 2)])
        assert (ledger.summary(MEASUREMENTS).rows, ledger.summary(CLICKS).rows) == (0, 0)
        assert position(ledger).next_offset is position(ledger, place(MEASUREMENTS)).next_offset is None
        assert not ledger.offsets(CLICKS, HERE, 1).filtered
        del events[2]
        report = sink.write(SinkBatch((rows(CLICKS, [1]), rows(MEASUREMENTS, events)), moves, filtered))
        assert report.merged == {"clicks": Merged(1, 0), "measurements": Merged(3, 0)}
        assert position(ledger, place(MEASUREMENTS)).next_offset == 4

    @pytest.mark.parametrize("number", LARGEST)
    def test_integers_of_64_bits_land(self, sink: EventSink, ledger: Ledger, number: int) -> None:
        sink.write(batch(rows(MEASUREMENTS, {0: event(MEASUREMENTS, "e", count=number)})))
        assert ledger.recent(MEASUREMENTS, 1)[0]["count"] == number

    def test_a_refused_row_leaves_no_trace_that_makes_the_mended_one_a_duplicate(
        self, sink: EventSink, ledger: Ledger
    ) -> None:
        for count in (str(2**64), "7"):
            write = batch(rows(MEASUREMENTS, {0: event(MEASUREMENTS, "e", count=count)}))
            if count == "7":
                assert sink.write(write).merged == {"measurements": Merged(1, 0)}
            else:
                with pytest.raises(PermanentError):
                    sink.write(write)
        assert not ledger.offsets(MEASUREMENTS, place(MEASUREMENTS), 1).duplicates

    # -- life --------------------------------------------------------------------------------------------------------

    def test_a_sink_in_order_passes_its_check_and_closes_twice(self, sink: EventSink) -> None:
        sink.check()
        sink.close()
        sink.close()

    def test_a_sink_that_was_never_used_closes(self, storage: SinkStorage) -> None:
        storage.sink().close()

    def test_threads_use_it_one_after_the_other(self, sink: EventSink, ledger: Ledger) -> None:
        ours = claim(sink)
        for start in (0, 5, 10):
            with ThreadPoolExecutor(1) as another:
                done = another.submit(land, sink, rows(CLICKS, range(start, start + 5)), ours, start or None)
                assert done.result() == Merged(5, 0)
        assert ledger.summary(CLICKS).rows == 15
