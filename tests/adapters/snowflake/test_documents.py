"""Rows on their way to Snowflake: nothing is rounded or changed on it, and what would be is refused by name."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest

from flowguard.adapters.snowflake.documents import Piece, pieces_of
from flowguard.adapters.snowflake.tables import table_of
from flowguard.domain.errors import PermanentError
from flowguard.domain.ingestion import IngestionId
from flowguard.domain.rows import Rows
from tests.builders import CLICKS, MEASUREMENTS, event, place, rows

TABLE = table_of(MEASUREMENTS)


def holding(column: str, *values: object) -> Rows:
    """A row for each of the values, which the model would have let through."""
    given = rows(MEASUREMENTS, range(len(values)))
    at = [one.name for one in TABLE.columns].index(column)
    return replace(
        given, values=[(*row[:at], value, *row[at + 1 :]) for row, value in zip(given.values, values, strict=True)]
    )


def sent_of(piece: Piece, column: str) -> list[object]:
    """What is sent as the column's values."""
    at = 1 + [one.name for one in TABLE.columns].index(column)
    return [msgspec.json.decode(one)[at] for one in piece.documents]


@pytest.mark.parametrize(
    ("price", "sent"),
    [
        (Decimal("12.3400"), "12.3400"),
        (Decimal("1E+2"), "100"),
        (Decimal("0.000000000001"), "0.000000000001"),
        (Decimal(10**26 - 1), f"{10**26 - 1}"),
    ],
)
def test_a_decimal_is_sent_as_it_is(price: Decimal, sent: str) -> None:
    (piece,) = pieces_of(TABLE, [holding("price", price)])
    assert sent_of(piece, "price") == [sent]


@pytest.mark.parametrize("price", [Decimal("0.0000000000001"), Decimal(10**26), Decimal(-(10**26))])
def test_a_decimal_that_would_be_rounded_is_refused_and_named(price: Decimal) -> None:
    with pytest.raises(PermanentError, match="digits before or 12 after the point") as caught:
        pieces_of(TABLE, [holding("price", Decimal(1), price, None)])
    assert [(one.partition, one.offset) for one in caught.value.rows] == [(place(MEASUREMENTS), 1)]


def test_no_value_and_the_value_null_are_two_things() -> None:
    (piece,) = pieces_of(TABLE, [holding("tags", None, "null", "{}")])
    assert sent_of(piece, "tags") == [[], [None], [{}]]


def told(*pieces: Piece) -> list[list[tuple[int, list[object]]]]:
    """Of each piece: the offsets, and what follows the columns."""
    after = len(table_of(CLICKS).columns) + 1
    return [
        [
            (place.offset, msgspec.json.decode(one)[after:])
            for place, one in zip(piece.places, piece.documents, strict=True)
        ]
        for piece in pieces
    ]


def test_rows_of_one_event_or_one_record_are_told_of_each_other() -> None:
    twice = {0: event(CLICKS, "a"), 1: event(CLICKS, "b"), 2: event(CLICKS, "a"), 3: event(CLICKS, "a")}
    first = str(IngestionId(CLICKS.topic, 1, 0, 0))
    pieces = pieces_of(table_of(CLICKS), [rows(CLICKS, twice), rows(CLICKS, [0])])
    assert told(*pieces) == [[(0, []), (1, []), (2, [first, False]), (3, [first, False]), (0, [first, False])]]


def test_what_a_relayed_row_may_be_one_with_waits_for_it() -> None:
    """Whether the relayed row lands is not known yet: if it is there already, the other one is an event of its own."""
    first = IngestionId(CLICKS.topic, 1, 0, 1)
    given = rows(
        CLICKS,
        {5: event(CLICKS, "a"), 6: event(CLICKS, "b"), 7: event(CLICKS, "a"), 8: event(CLICKS, "c")},
        first_ids={5: first, 8: first},
    )
    pieces = pieces_of(table_of(CLICKS), [given])
    assert told(*pieces) == [[(5, [None, True]), (6, [])], [(7, []), (8, [None, True])]]
    assert [piece.relayed for piece in pieces] == [[first], [first]]
