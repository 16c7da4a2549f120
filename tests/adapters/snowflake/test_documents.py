"""Rows on their way to Snowflake: nothing is rounded or changed on it, and what would be is refused by name."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest

from flowguard.adapters.snowflake.documents import piece_of
from flowguard.adapters.snowflake.tables import table_of
from flowguard.domain.errors import PermanentError
from flowguard.domain.rows import Rows
from tests.builders import CLICKS, MEASUREMENTS, event, place, rows

TABLE = table_of(MEASUREMENTS)


def holding(column: str, *values: object) -> Rows:
    """A row for each of the values, which the model would have let through."""
    given = rows(MEASUREMENTS, range(len(values)))
    at = TABLE.at(column) - 1
    return replace(
        given, values=[(*row[:at], value, *row[at + 1 :]) for row, value in zip(given.values, values, strict=True)]
    )


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
    piece = piece_of(TABLE, [holding("price", price)])
    assert msgspec.json.decode(piece.documents[0])[TABLE.at("price")] == sent


@pytest.mark.parametrize("price", [Decimal("0.0000000000001"), Decimal(10**26), Decimal(-(10**26))])
def test_a_decimal_that_would_be_rounded_is_refused_and_named(price: Decimal) -> None:
    with pytest.raises(PermanentError, match="digits before or 12 after the point") as caught:
        piece_of(TABLE, [holding("price", Decimal(1), price, None)])
    assert [(one.partition, one.offset) for one in caught.value.rows] == [(place(MEASUREMENTS), 1)]


def test_no_value_and_the_value_null_are_two_things() -> None:
    piece = piece_of(TABLE, [holding("tags", None, "null", "{}")])
    found = [msgspec.json.decode(one)[TABLE.at("tags")] for one in piece.documents]
    assert found == [[], [None], [{}]]


def test_rows_of_one_event_or_one_record_are_seen_before_they_are_sent() -> None:
    table = table_of(CLICKS)
    twice = rows(CLICKS, {0: event(CLICKS, "a"), 1: event(CLICKS, "a")})
    assert not piece_of(table, [twice]).unique
    assert not piece_of(table, [rows(CLICKS, [0]), rows(CLICKS, [0])]).unique
    assert piece_of(table, [rows(CLICKS, [0]), rows(CLICKS, [1])]).unique
