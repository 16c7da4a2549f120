"""The envelope, and the two event types that FlowGuard brings along."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flowguard.domain import payload
from flowguard.domain.events import MAX_EVENT_ID, Click, Envelope, Order

ENVELOPE: dict[str, Any] = {"id": "e1", "source": "shop", "type": "clicks", "time": "2026-01-02T03:04:05Z", "data": {}}
CLICK = {"user_id": "u1", "session_id": "s1", "item_id": "42", "ad_id": "a1"}
ORDER: dict[str, Any] = {
    "order_id": "o1",
    "user_id": "u1",
    "session_id": "s1",
    "lines": [{"item_id": "42", "quantity": 2, "unit_price": Decimal("9.99")}],
    "currency": "EUR",
    "total": Decimal("19.98"),
    "status": "paid",
}
ABSENT = object()
CENTS = st.decimals("0", "9999.9999", places=4, allow_nan=False, allow_infinity=False)


def envelope(**changes: object) -> Envelope:
    fields = {name: value for name, value in {**ENVELOPE, **changes}.items() if value is not ABSENT}
    return msgspec.json.decode(msgspec.json.encode(fields), type=Envelope)


@given(st.datetimes(timezones=st.integers(-840, 840).map(lambda minutes: timezone(timedelta(minutes=minutes)))))
def test_a_time_is_kept_as_the_same_moment_in_utc(moment: datetime) -> None:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return
    read = envelope(time=moment.isoformat()).time
    assert read == moment
    assert read.tzinfo is UTC


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-01:00"])
def test_a_time_that_is_none_in_utc_is_refused_like_any_other_fault(moment: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="time"):
        envelope(time=moment)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ABSENT}, {"id": ""}, {"id": "x" * (MAX_EVENT_ID + 1)}, {"id": 7}, {"source": ""}, {"source": ABSENT},
        {"source": "x" * (MAX_EVENT_ID + 1)}, {"type": ABSENT}, {"time": ABSENT}, {"time": "2026-01-02T03:04:05"},
        {"time": "yesterday"}, {"time": 1_767_323_045}, {"schemaversion": 0}, {"schemaversion": 2**31},
        {"schemaversion": "1"}, {"specversion": "0.3"}, {"subject": 1}, {"data": ABSENT},
    ],
    ids=",".join,
)  # fmt: skip
def test_an_envelope_with_a_fault_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        envelope(**changes)


def test_an_envelope_needs_no_more_than_id_source_type_time_and_data() -> None:
    read = envelope(unknown_extension="kept out")
    assert (read.schemaversion, read.subject) == (1, None)
    # What is written is a CloudEvent by the book, where specversion is required.
    assert msgspec.json.decode(msgspec.json.encode(read))["specversion"] == "1.0"
    assert envelope(id="x" * MAX_EVENT_ID, source="y" * MAX_EVENT_ID).id == "x" * MAX_EVENT_ID


def test_an_envelope_keeps_the_bytes_of_its_data() -> None:
    value = b'{"id":"e","source":"s","type":"t","time":"2026-01-01T00:00:00Z","data":{"a" : 1.10 }}'
    assert bytes(msgspec.json.decode(value, type=Envelope).data) == b'{"a" : 1.10 }'


@given(st.lists(st.tuples(st.integers(1, 1_000), CENTS), min_size=1, max_size=5))
def test_an_order_is_valid_when_its_total_is_the_exact_sum_of_its_lines(lines: list[tuple[int, Decimal]]) -> None:
    total = sum((quantity * price for quantity, price in lines), Decimal(0))
    some = [{"item_id": 1, "quantity": quantity, "unit_price": price} for quantity, price in lines]
    order = Order.model_validate({**ORDER, "lines": some, "total": total})
    assert order.total == total

    with pytest.raises(ValidationError, match="the lines add up to"):
        Order.model_validate({**ORDER, "lines": some, "total": total + Decimal("0.0001")})


def test_an_order_out_of_json_is_exact_where_doubles_are_not() -> None:
    body = (
        b'{"order_id":"o","user_id":"u","session_id":"s","currency":"EUR","status":"paid","total":0.3,'
        b'"lines":[{"item_id":1,"quantity":1,"unit_price":0.1},{"item_id":2,"quantity":1,"unit_price":0.2}]}'
    )
    order = Order.model_validate(payload.decode(body))
    assert order.total == Decimal("0.3")
    assert [line.unit_price for line in order.lines] == [Decimal("0.1"), Decimal("0.2")]
    assert all(isinstance(line.unit_price, Decimal) for line in order.lines)


@pytest.mark.parametrize(
    "changes",
    [
        {"lines": []}, {"currency": "eur"}, {"currency": "EURO"}, {"currency": "EUR\n"}, {"status": "lost"},
        {"total": Decimal(-1)}, {"total": Decimal("19.98001")}, {"order_id": ""}, {"order_id": "x" * 257},
        {"total": Decimal("NaN")}, {"total": "Infinity"}, {"user_id": None},
        {"lines": [{"item_id": "42", "quantity": 0, "unit_price": Decimal("19.98")}], "total": Decimal(0)},
        {"lines": [{"item_id": "42", "quantity": 1.5, "unit_price": Decimal(2)}], "total": Decimal(3)},
    ],
    ids=str,
)  # fmt: skip
def test_an_order_with_a_fault_is_refused(changes: dict[str, object]) -> None:
    Order.model_validate(ORDER)
    with pytest.raises(ValidationError):
        Order.model_validate({**ORDER, **changes})


def test_item_42_is_the_same_item_as_a_number_and_as_a_text() -> None:
    assert Click.model_validate({**CLICK, "item_id": 42}) == Click.model_validate(CLICK)


@pytest.mark.parametrize("field", ["user_id", "session_id", "item_id", "ad_id"])
@pytest.mark.parametrize("value", [ABSENT, None, "", "x" * 257, [], {}])
def test_a_click_needs_each_of_its_keys(field: str, value: object) -> None:
    fields: dict[str, object] = {**CLICK, field: value}
    if value is ABSENT:
        del fields[field]
    with pytest.raises(ValidationError, match=field):
        Click.model_validate(fields)


def test_a_click_may_have_a_page_and_a_referrer_and_more_that_is_not_looked_at() -> None:
    click = Click.model_validate({**CLICK, "page": "/menu", "colour": "red"})
    assert (click.page, click.referrer) == ("/menu", None)
    assert not hasattr(click, "colour")
