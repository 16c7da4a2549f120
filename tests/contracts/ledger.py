"""What every Ledger must do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import ClassVar

import msgspec
import pytest

from flowguard.domain.columns import METADATA, Column, Kind, columns_of
from flowguard.domain.errors import ConfigurationError
from flowguard.domain.ingestion import Assignment
from flowguard.domain.rows import Row, Rows
from flowguard.ports.ledger import LandedOffsets, Ledger, TableSummary
from flowguard.ports.sink import EventSink
from tests.builders import CATALOG, CLICKS, MEASUREMENTS, ORDERS, event, place, rows
from tests.contracts.sink_case import FIRST, HERE, SECOND, batch, claim, land, ranges
from tests.contracts.storage import SinkStorage


def meaning(kind: Kind, value: object) -> object:  # noqa: PLR0911  # one case a kind
    """The value as Python means it, whichever way a sink gives it back."""
    match kind, value:
        case _, None:
            return None
        case Kind.DECIMAL, _:
            return Decimal(str(value))
        case Kind.BOOLEAN, bool() | int():
            return bool(value)
        case Kind.TIMESTAMP, str():
            return datetime.fromisoformat(value).astimezone(UTC)
        case Kind.TIMESTAMP, datetime():
            assert value.tzinfo is not None
            return value.astimezone(UTC)
        case Kind.JSON, str() | bytes():
            return msgspec.json.decode(value)
        case _:
            return value


def means(columns: tuple[Column, ...], given: Row) -> Mapping[str, object]:
    return {column.name: meaning(column.kind, value) for column, value in zip(columns, given, strict=True)}


class LedgerContract:
    """Set `adapter`, and give the fixture `storage`, a fresh SinkStorage."""

    adapter: ClassVar[type[Ledger]]

    @pytest.fixture
    def storage(self) -> SinkStorage:
        raise NotImplementedError("the subclass makes a fresh storage")

    @pytest.fixture
    def sink(self, storage: SinkStorage) -> Iterator[EventSink]:
        sink = storage.sink()
        yield sink
        sink.close()

    @pytest.fixture
    def ledger(self, storage: SinkStorage) -> Ledger:
        ledger = storage.ledger()
        assert isinstance(ledger, self.adapter)
        return ledger

    # -- figures -----------------------------------------------------------------------------------------------------

    def test_before_anything_landed(self, ledger: Ledger) -> None:
        assert list(ledger.positions()) == []
        for one in CATALOG:
            assert ledger.summary(one) == TableSummary(0, 0)
            assert ledger.offsets(one, place(one), 1) == LandedOffsets(ranges(), ranges(), ranges())
            assert list(ledger.doubled(one)) == []
            assert list(ledger.recent(one, 10)) == []

    def test_rows_are_counted_with_those_whose_metadata_is_complete(self, sink: EventSink, ledger: Ledger) -> None:
        """The subject is the producer's choice: without it, nothing is missing."""
        land(sink, rows(CLICKS, {0: event(CLICKS, "a", subject="x"), 1: event(CLICKS, "b")}), claim(sink))
        assert ledger.summary(CLICKS) == TableSummary(2, 2)
        assert ledger.summary(ORDERS) == TableSummary(0, 0)

    def test_every_partition_and_incarnation_that_was_claimed(self, sink: EventSink, ledger: Ledger) -> None:
        wanted = {(place(CLICKS, 2), FIRST, 1), (place(CLICKS, 10), FIRST, 1), (place(CLICKS, 2), SECOND, 2)}
        for partition, topic_id, _ in sorted(wanted):
            sink.claim("consumer", [Assignment(partition, topic_id)])
        assert {(one.partition, one.topic_id, one.incarnation) for one in ledger.positions()} == wanted
        assert len(ledger.positions()) == 3

    def test_offsets_are_of_one_table_partition_and_incarnation(self, sink: EventSink, ledger: Ledger) -> None:
        sink.write(
            batch(
                rows(CLICKS, [1, 2]),
                rows(CLICKS, [3], partition=1),
                rows(CLICKS, [4], incarnation=2),
                rows(ORDERS, [5]),
            )
        )
        assert ledger.offsets(CLICKS, HERE, 1).landed == ranges((1, 2))
        assert ledger.offsets(CLICKS, place(CLICKS, 1), 1).landed == ranges((3, 3))
        assert ledger.offsets(CLICKS, HERE, 2).landed == ranges((4, 4))
        assert ledger.offsets(ORDERS, place(ORDERS), 1).landed == ranges((5, 5))
        assert ledger.offsets(ORDERS, HERE, 1) == LandedOffsets(ranges(), ranges(), ranges())

    def test_nothing_is_doubled(self, sink: EventSink, ledger: Ledger) -> None:
        for _ in range(2):
            sink.write(batch(rows(CLICKS, {0: event(CLICKS, "a"), 1: event(CLICKS, "a")})))
        assert list(ledger.doubled(CLICKS)) == []
        assert list(ledger.doubled(CLICKS, limit=1)) == []

    # -- rows --------------------------------------------------------------------------------------------------------

    def test_the_rows_that_landed_last_come_first(self, sink: EventSink, ledger: Ledger) -> None:
        ours = claim(sink)
        land(sink, rows(CLICKS, range(10, 15)), ours)
        land(sink, rows(CLICKS, range(15, 18)), ours, expected=15)
        sink.write(batch(rows(CLICKS, [3])))
        found = [row["source_offset"] for row in ledger.recent(CLICKS, 5)]
        assert found == [3, 17, 16, 15, 14]
        assert len(ledger.recent(CLICKS, 100)) == 9
        assert list(ledger.recent(CLICKS, 0)) == []

    def test_rows_are_found_by_what_their_columns_hold(self, sink: EventSink, ledger: Ledger) -> None:
        values = {
            0: event(CLICKS, "a", user_id="u1", session_id="s1"),
            1: event(CLICKS, "b", user_id="u2", session_id="s1", page='it\'s 100% "this"'),
            2: event(CLICKS, "c", user_id="u2", session_id="s2"),
        }
        sink.write(batch(rows(CLICKS, values)))

        def found(limit: int = 10, **where: str) -> list[object]:
            return [row["event_id"] for row in ledger.recent(CLICKS, limit, where)]

        assert found(user_id="u2") == ["c", "b"]
        assert found(1, user_id="u2") == ["c"]
        assert found(user_id="u2", session_id="s1") == ["b"]
        assert found(source_offset="0") == ["a"]
        assert found(page='it\'s 100% "this"') == ["b"]
        assert found(user_id="u3") == found(user_id="' OR 1=1 --") == found(user_id="U2") == []
        assert found(page="None") == found(page="") == []
        assert found() == ["c", "b", "a"]

    @pytest.mark.parametrize("name", ["colour", "user_id = user_id --", "rowid", ""])
    def test_a_column_that_is_not_there_is_said_so(self, ledger: Ledger, name: str) -> None:
        with pytest.raises(ConfigurationError):
            ledger.recent(CLICKS, 10, {name: "x"})

    @pytest.mark.parametrize(
        "given",
        [
            rows(ORDERS, {7: event(ORDERS, "a", subject="s/1")}, partition=2),
            rows(CLICKS, {7: event(CLICKS, "é\u2028🍕", page=None, referrer="")}, incarnation=3),
            rows(MEASUREMENTS, {7: event(MEASUREMENTS, "a")}),
            rows(MEASUREMENTS, {7: event(MEASUREMENTS, "a", working=False, note="null", tags={}, count=0)}),
            rows(MEASUREMENTS, {7: event(MEASUREMENTS, "a", price=Decimal("0.1"), level=-1.5e-300)}),
            rows(MEASUREMENTS, {7: event(MEASUREMENTS, "a", price=Decimal("-12345678901234.5678"))}),
            rows(MEASUREMENTS, {7: event(MEASUREMENTS, "a", price=Decimal("1E+2"), level=0.1)}),
            rows(MEASUREMENTS, {7: event(MEASUREMENTS, "a", tags={"x": [{"y": [1.5, True, None, "\\"]}]})}),
            rows(MEASUREMENTS, {7: event(MEASUREMENTS, "a", seen_at="1969-12-31T23:59:59Z")}),
            rows(MEASUREMENTS, {7: event(MEASUREMENTS, "a", occurred_at=datetime(1, 1, 1, tzinfo=UTC))}),
        ],
        ids=lambda given: f"{given.event_type.name}-{given.values[0][-7:]}"[:60],
    )
    def test_what_landed_comes_back_meaning_the_same(self, sink: EventSink, ledger: Ledger, given: Rows) -> None:
        columns = (*METADATA, *columns_of(given.event_type.model))
        sink.write(batch(given))
        (found,) = ledger.recent(given.event_type, 10)
        assert set(found) == {column.name for column in columns}
        back = tuple(found[column.name] for column in columns)
        assert means(columns, back) == means(columns, given.values[0])

    def test_a_ledger_sees_what_landed_after_it_was_opened(self, sink: EventSink, ledger: Ledger) -> None:
        for count in (1, 2, 3):
            sink.write(batch(rows(CLICKS, range(count))))
            assert ledger.summary(CLICKS).rows == count
