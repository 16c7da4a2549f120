"""What a catalog may hold, and how old versions are read."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from flowguard.domain.catalog import BUILT_IN, Catalog, CatalogError, Data, EventType, SchemaContract
from flowguard.domain.columns import METADATA, columns_of


class Booking(BaseModel):
    user_id: str
    nights: int


def same(data: Data) -> Data:
    return data


def booking(**changes: Any) -> EventType:  # noqa: ANN401  # some of them are wrong on purpose
    return EventType(**{"name": "bookings", "model": Booking, "key": "user_id", **changes})


def test_a_name_is_enough_to_know_topic_and_table() -> None:
    one = booking()
    assert (one.topic, one.table, one.version, one.partitions) == ("raw.bookings.v1", "bookings", 1, 4)
    other = booking(topic="shop.bookings", table="bronze_bookings")
    assert (other.topic, other.table) == ("shop.bookings", "bronze_bookings")


def test_a_schema_contract_may_be_given_as_text() -> None:
    assert booking(schema_contract="freeze").schema_contract is SchemaContract.FREEZE
    assert booking().schema_contract is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "Bookings"}, "event type name 'Bookings': use lower-case letters, digits and _"),
        ({"name": "1st"}, "event type name '1st'"),
        ({"name": ""}, "event type name ''"),
        ({"name": "a" * 64}, "event type name"),
        ({"name": "a; DROP TABLE x"}, "use lower-case letters"),
        ({"name": "bookings\n"}, "event type name"),
        ({"table": "Bronze-Bookings"}, "event type table 'Bronze-Bookings'"),
        ({"topic": "a@2"}, "topic 'a@2' of bookings: use letters, digits, '.', '_' and '-'"),
        ({"topic": "a b"}, "topic 'a b' of bookings"),
        ({"topic": "a" * 201}, "of bookings: use letters"),
        (
            {"schema_contract": "strict"},
            "schema_contract 'strict' of bookings: it is one of evolve, freeze, discard_value",
        ),
        ({"key": "guest"}, "key 'guest' of bookings is no field of Booking"),
        ({"partitions": 0}, "bookings needs at least 1 partition"),
        ({"version": 0}, "versions count from 1"),
        ({"version": 3, "upcasters": {1: same}}, r"those from \[1, 2\] without a gap, but they are from \[1\]"),
        ({"version": 1, "upcasters": {1: same}}, r"from none without a gap, but they are from \[1\]"),
        ({"version": 2, "upcasters": {2: same}}, "without a gap"),
        ({"version": 2, "upcasters": {0: same, 1: same}}, "versions count from 1"),
    ],
)
def test_a_contradiction_is_told_with_how_to_mend_it(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(CatalogError, match=told):
        booking(**changes)


@pytest.mark.parametrize("name", [*(column.name for column in METADATA), "source"])
def test_a_model_may_not_have_a_field_that_the_envelope_takes(name: str) -> None:
    model = type("Clashing", (BaseModel,), {"__annotations__": {"user_id": str, name: str}})
    with pytest.raises(CatalogError, match=f"must not have fields named {name}"):
        booking(model=model)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (booking(topic="other", table="other"), "two event types have the name 'bookings'"),
        (booking(name="other", topic="raw.bookings.v1"), "two event types have the topic 'raw.bookings.v1'"),
        (booking(name="other", table="bookings"), "two event types have the table 'bookings'"),
    ],
)
def test_two_event_types_share_nothing(other: EventType, told: str) -> None:
    with pytest.raises(CatalogError, match=told):
        Catalog([booking(), other])


def test_a_catalog_finds_by_name_and_by_topic_and_keeps_the_order() -> None:
    one = booking()
    catalog = Catalog([*BUILT_IN, one])
    assert catalog.names == ("clicks", "orders", "bookings")
    assert list(catalog)[2] is catalog.named("bookings") is catalog.of_topic("raw.bookings.v1") is one
    assert len(catalog) == 3
    assert catalog.named("raw.bookings.v1") is catalog.of_topic("bookings") is None


def test_versions_are_those_from_the_lowest_upcaster_to_the_newest() -> None:
    assert list(booking().versions) == [1]
    assert list(booking(version=4).versions) == [4]
    assert list(booking(version=4, upcasters={2: same, 3: same}).versions) == [2, 3, 4]


def test_upcasters_are_applied_one_after_the_other() -> None:
    one = booking(
        version=3,
        upcasters={
            1: lambda data: {**data, "nights": data["days"]},
            2: lambda data: {**data, "nights": -data["nights"]},
        },
    )
    assert one.upcast({"days": 2}, 1)["nights"] == -2
    assert one.upcast({"nights": 2}, 2)["nights"] == -2
    assert one.upcast({"nights": 2}, 3)["nights"] == 2


def test_what_an_upcaster_raises_passes_through() -> None:
    one = booking(version=2, upcasters={1: lambda data: {**data, "nights": data["days"]}})
    with pytest.raises(KeyError, match="days"):
        one.upcast({}, 1)


def test_the_built_in_event_types_are_named_in_the_plural_everywhere() -> None:
    assert [(one.name, one.topic, one.table, one.key) for one in BUILT_IN] == [
        ("clicks", "raw.clicks.v1", "clicks", "session_id"),
        ("orders", "raw.orders.v1", "orders", "user_id"),
    ]
    assert [column.name for column in columns_of(BUILT_IN[0].model)] == [
        "user_id", "session_id", "item_id", "ad_id", "page", "referrer",
    ]  # fmt: skip
