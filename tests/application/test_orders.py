"""Placing orders: what is stored, and what is not."""

from __future__ import annotations

import msgspec
import pytest
from pydantic import BaseModel

from flowguard.application.composing import InvalidEventError
from flowguard.application.intake import Defaults
from flowguard.application.orders import PlaceOrder
from flowguard.domain.catalog import EventType
from flowguard.domain.cloudevents import event_of
from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.domain.orders import KeyReusedError, OrderExistsError
from flowguard.domain.telemetry import OrderPlaced
from tests.application.ordering import Counter, order
from tests.application.publishing import NOW
from tests.builders import ORDERS


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.mark.parametrize("binary", [False, True])
def test_an_order_and_its_event_are_what_publish_would_have_logged(binary: bool) -> None:
    counter = Counter(binary=binary)
    placement = counter.place.place(order(note="kept", subject="s"))
    assert not placement.repeated
    placed = placement.order
    assert (placed.order_id, placed.source, placed.event_id, placed.placed_at) == ("o1", "gateway", "made-1", NOW)
    (message,) = counter.messages
    assert (message.topic, message.key, message.event_id) == (ORDERS.topic, b"u1", "made-1")
    assert bool(message.headers) is binary
    event = event_of(message.headers, message.value)
    assert (event.id, event.type, event.time, event.subject) == ("made-1", "orders", NOW, "s")
    assert bytes(event.data) == placed.document
    assert msgspec.json.decode(placed.document)["note"] == "kept"
    assert b"9.9900" in placed.document
    assert counter.telemetry.of(OrderPlaced)[0].repeated is False


def test_a_cloud_event_is_taken_too(counter: Counter) -> None:
    event = {"specversion": "1.0", "id": "c1", "source": "app", "type": "orders", "data": order()}
    assert counter.place.place(event).order.event_id == "c1"
    assert counter.messages[0].key == b"u1"


@pytest.mark.parametrize(
    ("bad", "pointer"),
    [
        (order(total=1), ""),
        (order(order_id=""), "/order_id"),
        (order(lines=[]), "/lines"),
        (order(note="\x00"), "/note"),
        (order(occurred_at="yesterday"), "/occurred_at"),
        (order(event_type="clicks"), "/event_type"),
        (order(schema_version=2), "/schema_version"),
        ({}, "/order_id"),
        ([order()], ""),
        ("x", ""),
        (None, ""),
    ],
)
def test_what_does_not_fit_is_refused_at_once_with_its_place(counter: Counter, bad: object, pointer: str) -> None:
    with pytest.raises(InvalidEventError) as raised:
        counter.place.place(bad)
    assert raised.value.faults[0].pointer == pointer
    assert raised.value.faults[0].message in str(raised.value)
    assert counter.messages == []
    assert counter.telemetry.happenings == []


def test_a_repeated_key_gives_the_first_order(counter: Counter) -> None:
    first = counter.place.place(order(), "k")
    shuffled = dict(reversed(list(order().items())))
    again = counter.place.place(shuffled, "k")
    assert (again.order, again.repeated) == (first.order, True)
    assert len(counter.messages) == 1
    assert [one.repeated for one in counter.telemetry.of(OrderPlaced)] == [False, True]


@pytest.mark.parametrize("changed", [order(order_id="o2"), order(session_id="s2"), order(event_id="e")])
def test_a_key_with_another_order_is_refused(counter: Counter, changed: object) -> None:
    counter.place.place(order(), "k")
    with pytest.raises(KeyReusedError):
        counter.place.place(changed, "k")


def test_keys_of_another_service_are_other_keys(counter: Counter) -> None:
    counter.place.place(order(source="app"), "k")
    assert not counter.place.place(order(source="shop", order_id="o2"), "k").repeated


def test_without_a_key_an_order_id_is_taken_once(counter: Counter) -> None:
    counter.place.place(order())
    with pytest.raises(OrderExistsError):
        counter.place.place(order())


def test_what_the_repository_raises_passes_through(counter: Counter) -> None:
    counter.orders.errors = [TransientError("away")]
    with pytest.raises(TransientError, match="away"):
        counter.place.place(order())
    counter.orders.trouble = TransientError("away")
    with pytest.raises(TransientError, match="away"):
        counter.place.check()


class Receipt(BaseModel):
    number: int


class Numbered(BaseModel):
    order_id: int


def test_a_model_without_an_order_id_is_refused_with_what_to_do() -> None:
    counter = Counter()
    defaults = Defaults(lambda: "e", "gateway")
    with pytest.raises(ConfigurationError, match="Receipt of orders has no field order_id"):
        PlaceOrder(
            EventType("orders", Receipt, key="number"),
            counter.orders,
            counter.place._clock,
            counter.telemetry,
            defaults=defaults,
        )
    place = PlaceOrder(
        EventType("orders", Numbered, key="order_id"),
        counter.orders,
        counter.place._clock,
        counter.telemetry,
        defaults=defaults,
    )
    with pytest.raises(InvalidEventError, match="/order_id: must be a text"):
        place.place({"order_id": 7})
