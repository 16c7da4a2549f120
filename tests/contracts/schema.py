"""What every sink with tables must do when rows have columns that their table lacks: its schema contract."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import pytest
from pydantic import BaseModel

from flowguard.domain.catalog import EventType, SchemaContract
from flowguard.domain.columns import METADATA, columns_of
from flowguard.domain.errors import ConfigurationError, PermanentError
from flowguard.domain.ingestion import Assignment, Claim
from flowguard.domain.rows import Merged, Move, Rows, SinkBatch, WriteReport
from flowguard.domain.telemetry import ColumnsAdded, RowsDiscarded, ValuesDiscarded
from flowguard.ports.ledger import Ledger
from flowguard.ports.sink import EventSink
from tests.builders import CLICKS, NOW, place, rows
from tests.contracts.sink_case import FIRST, ranges
from tests.contracts.storage import SinkStorage


class Booking(BaseModel):
    user_id: str


class GrownBooking(Booking):
    """The same, a release later: two fields more."""

    Nights: int | None = None
    hotel: str | None = None


OLD = EventType("bookings", Booking, key="user_id")
GROWN = EventType("bookings", GrownBooking, key="user_id")
HERE = place(OLD)


class SchemaStorage(SinkStorage, Protocol):
    """A SinkStorage whose tables can be changed."""

    def sink_with(self, contract: SchemaContract) -> EventSink:
        """With this contract for all event types that have none of their own."""
        ...

    def migrate(self, event_type: EventType) -> None:
        """Make its table, or bring it up to date, as `flowguard migrate` does."""
        ...

    def drop_column(self, table: str, column: str) -> None:
        """Behind the backs of the adapters."""
        ...


def bookings(*values: tuple[object, ...], first: int = 0, event_type: EventType = GROWN) -> Rows:
    """Rows at consecutive offsets; each with its values of the model's fields, as far as given."""
    topic = event_type.topic
    metadata = [
        (f"e{offset}", "bookings", 1, topic, 1, 0, offset, "shop", f"{topic}-0-{offset}", None, NOW, NOW, "{}")
        for offset in range(first, first + len(values))
    ]
    assert len(metadata[0]) == len(METADATA)
    width = len(columns_of(event_type.model))
    return Rows(
        event_type,
        HERE,
        1,
        [*range(first, first + len(values))],
        [(*one, *given, *[None] * (width - len(given))) for one, given in zip(metadata, values, strict=True)],
    )


MIXED = (("u0",), ("u1", 3), ("u2", None, "Ritz"), ("u3",))
"""Two rows have a value for a column that an old table lacks: those at offsets 1 and 2."""


class SchemaContractCase:
    """Give the fixture `storage`, a fresh SchemaStorage without a table of bookings."""

    @pytest.fixture
    def storage(self) -> SchemaStorage:
        raise NotImplementedError("the subclass makes a fresh storage")

    @pytest.fixture
    def ledger(self, storage: SchemaStorage) -> Ledger:
        """Of a table of bookings as it was before their model grew, with one row."""
        storage.migrate(OLD)
        sink = storage.sink()
        sink.write(SinkBatch((bookings(("before",), first=100, event_type=OLD),), ()))
        sink.close()
        return storage.ledger()

    # -- evolve ------------------------------------------------------------------------------------------------------

    def test_evolve_adds_the_columns_once_and_tells(self, storage: SchemaStorage, ledger: Ledger) -> None:
        sink = storage.sink_with(SchemaContract.EVOLVE)
        report = write(sink, bookings(*MIXED), ours := claim(sink))
        assert report == WriteReport({"bookings": Merged(4, 0)}, (ColumnsAdded("bookings", ("hotel", "nights")),))
        assert write(sink, bookings(("u4", 9), first=4), ours, 4).told == ()
        assert stored(ledger) == [("before", None, None), ("u0", None, None), ("u1", 3, None), ("u2", None, "Ritz"),
                                  ("u3", None, None), ("u4", 9, None)]  # fmt: skip

    def test_two_sinks_that_evolve_one_table_do_no_harm(self, storage: SchemaStorage, ledger: Ledger) -> None:
        first, second = storage.sink_with(SchemaContract.EVOLVE), storage.sink_with(SchemaContract.EVOLVE)
        for sink, start in ((first, 0), (second, 1)):
            write(sink, bookings(("u", 3), first=start), None)
        assert len(stored(ledger)) == 3

    def test_a_column_that_somebody_dropped_comes_back(self, storage: SchemaStorage, ledger: Ledger) -> None:
        sink = storage.sink_with(SchemaContract.EVOLVE)
        write(sink, bookings(("u0", 3)), None)
        storage.drop_column("bookings", "nights")
        report = write(sink, bookings(("u1", 4), first=1), None)
        assert report.told == (ColumnsAdded("bookings", ("nights",)),)
        assert stored(ledger)[1:] == [("u0", None, None), ("u1", 4, None)]

    # -- freeze ------------------------------------------------------------------------------------------------------

    def test_freeze_names_the_rows_that_have_a_value_and_writes_nothing(
        self, storage: SchemaStorage, ledger: Ledger
    ) -> None:
        sink = storage.sink_with(SchemaContract.FREEZE)
        ours = claim(sink)
        with pytest.raises(PermanentError, match="table bookings has no column hotel, nights") as caught:
            write(sink, bookings(*MIXED), ours)
        assert [(one.partition, one.offset) for one in caught.value.rows] == [(HERE, 1), (HERE, 2)]
        assert users(ledger) == ["before"]
        kept = bookings(*MIXED)
        without = replace(kept, offsets=[0, 3], values=[kept.values[0], kept.values[3]])
        assert write(sink, without, ours) == WriteReport({"bookings": Merged(2, 0)})
        assert users(ledger) == ["before", "u0", "u3"]

    def test_freeze_lands_all_once_somebody_has_migrated(self, storage: SchemaStorage, ledger: Ledger) -> None:
        sink = storage.sink_with(SchemaContract.FREEZE)
        with pytest.raises(PermanentError):
            write(sink, bookings(*MIXED), None)
        storage.migrate(GROWN)
        assert write(sink, bookings(*MIXED), None) == WriteReport({"bookings": Merged(4, 0)})
        assert stored(ledger)[2] == ("u1", 3, None)

    def test_freeze_refuses_again_once_the_column_is_gone(self, storage: SchemaStorage, ledger: Ledger) -> None:
        storage.migrate(GROWN)
        sink = storage.sink_with(SchemaContract.FREEZE)
        write(sink, bookings(("u0", 3)), None)
        storage.drop_column("bookings", "nights")
        with pytest.raises(PermanentError) as caught:
            write(sink, bookings(("u1", 4), ("u2",), first=1), None)
        assert [one.offset for one in caught.value.rows] == [1]

    # -- discard_value -----------------------------------------------------------------------------------------------

    def test_discard_value_lands_the_rest_of_the_row_and_tells(self, storage: SchemaStorage, ledger: Ledger) -> None:
        sink = storage.sink_with(SchemaContract.DISCARD_VALUE)
        ours = claim(sink)
        report = write(sink, bookings(*MIXED), ours)
        told = ValuesDiscarded("bookings", ("hotel", "nights"), 2)
        assert report == WriteReport({"bookings": Merged(4, 0)}, (told,))
        assert users(ledger) == ["before", "u0", "u1", "u2", "u3"]
        assert write(sink, bookings(("u4",), first=4), ours, 4).told == ()  # nothing was lost of this one
        storage.migrate(GROWN)
        assert write(sink, bookings(("u5", 9), first=5), ours, 5).told == ()
        assert stored(ledger)[-1] == ("u5", 9, None)

    # -- discard_row -------------------------------------------------------------------------------------------------

    def test_discard_row_resolves_it_as_filtered_and_tells(self, storage: SchemaStorage, ledger: Ledger) -> None:
        sink = storage.sink_with(SchemaContract.DISCARD_ROW)
        ours = claim(sink)
        report = write(sink, bookings(*MIXED), ours)
        told = RowsDiscarded("bookings", ("hotel", "nights"), 2)
        assert report == WriteReport({"bookings": Merged(2, 0)}, (told,))
        offsets = ledger.offsets(OLD, HERE, 1)
        assert (offsets.landed, offsets.filtered) == (ranges((0, 0), (3, 3), (100, 100)), ranges((1, 2)))
        (position,) = [one for one in ledger.positions() if one.partition == HERE]
        assert position.next_offset == 4

    def test_a_batch_of_which_no_row_is_left(self, storage: SchemaStorage, ledger: Ledger) -> None:
        sink = storage.sink_with(SchemaContract.DISCARD_ROW)
        report = write(sink, bookings(("u", 3)), claim(sink))
        assert (dict(report.merged), len(report.told)) == ({}, 1)
        assert ledger.offsets(OLD, HERE, 1).filtered == ranges((0, 0))

    def test_what_was_discarded_lands_when_it_is_written_again_after_a_migration(
        self, storage: SchemaStorage, ledger: Ledger
    ) -> None:
        sink = storage.sink_with(SchemaContract.DISCARD_ROW)
        write(sink, bookings(*MIXED), claim(sink))
        storage.migrate(GROWN)
        assert write(sink, bookings(*MIXED), None) == WriteReport({"bookings": Merged(2, 2)})

    # -- one event type's own, and what no contract is about ---------------------------------------------------------

    def test_an_event_type_may_have_its_own(self, storage: SchemaStorage, ledger: Ledger) -> None:
        sink = storage.sink_with(SchemaContract.EVOLVE)
        strict = EventType("bookings", GrownBooking, key="user_id", schema_contract=SchemaContract.FREEZE)
        with pytest.raises(PermanentError):
            write(sink, bookings(("u", 3), event_type=strict), None)
        assert write(sink, bookings(("u", 3)), None).told == (ColumnsAdded("bookings", ("hotel", "nights")),)

    def test_other_types_of_the_batch_are_none_of_its_business(self, storage: SchemaStorage, ledger: Ledger) -> None:
        sink = storage.sink_with(SchemaContract.DISCARD_ROW)
        report = sink.write(SinkBatch((rows(CLICKS, range(3)), bookings(("u", 3))), ()))
        assert (report.merged["clicks"], ledger.summary(CLICKS).rows) == (Merged(3, 0), 3)

    @pytest.mark.parametrize("contract", SchemaContract)
    def test_a_sink_whose_table_lacks_columns_passes_its_check(
        self, storage: SchemaStorage, ledger: Ledger, contract: SchemaContract
    ) -> None:
        storage.sink_with(contract).check()

    @pytest.mark.parametrize("contract", SchemaContract)
    def test_a_table_that_is_not_there_is_for_a_person_to_make(
        self, storage: SchemaStorage, contract: SchemaContract
    ) -> None:
        with pytest.raises(ConfigurationError, match="flowguard migrate"):
            write(storage.sink_with(contract), bookings(("u", 3)), None)

    @pytest.mark.parametrize("contract", SchemaContract)
    def test_metadata_that_is_missing_is_for_a_person_to_mend(
        self, storage: SchemaStorage, ledger: Ledger, contract: SchemaContract
    ) -> None:
        storage.drop_column("bookings", "subject")
        with pytest.raises(ConfigurationError, match="flowguard migrate"):
            write(storage.sink_with(contract), bookings(("u",), event_type=OLD), None)


def claim(sink: EventSink) -> Claim:
    (claimed,) = sink.claim("consumer-1", [Assignment(HERE, FIRST)])
    return claimed


def write(sink: EventSink, given: Rows, claimed: Claim | None, expected: int | None = None) -> WriteReport:
    """Up to the position after the last row; without a claim as a replay does it."""
    moves = () if claimed is None else (Move(claimed, expected, given.offsets[-1] + 1),)
    return sink.write(SinkBatch((given,), moves))


def stored(ledger: Ledger) -> list[tuple[object, ...]]:
    """Who, nights and hotel, in the order of landing."""
    return [(one["user_id"], one["nights"], one["hotel"]) for one in reversed(ledger.recent(GROWN, 100))]


def users(ledger: Ledger) -> list[object]:
    """As `stored`, of a table that may lack the other two columns."""
    return [one["user_id"] for one in reversed(ledger.recent(OLD, 100))]
