"""From a model's fields to the columns of its table."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from flowguard.domain.columns import METADATA, Column, Kind, columns_of, row_reader


class Colour(Enum):
    RED = "red"


class Size(StrEnum):
    SMALL = "small"


class Level(IntEnum):
    LOW = 1


class Part(BaseModel):
    name: str
    price: Decimal


class Everything(BaseModel):
    text: str
    bounded: Annotated[str, Field(max_length=9)]
    number: int
    real: float
    money: Decimal
    flag: bool
    moment: datetime
    maybe: int | None = None
    maybe_too: Optional[str] = None  # noqa: UP045  # users write it
    maybe_money: Annotated[Decimal, Field(ge=0)] | None = None
    literal: Literal["a", "b"] = "a"
    mixed: Literal["a", 1] = "a"
    colour: Colour = Colour.RED
    size: Size | None = Size.SMALL
    level: Level = Level.LOW
    key: UUID = UUID(int=7)
    day: date = date(2026, 1, 2)
    either: int | str = 1
    names: list[str] = Field(default_factory=lambda: ["é", "\n"])
    part: Part = Part(name="p", price=Decimal("1.10"))
    parts: tuple[Part, ...] | None = None
    anything: Any = None
    counts: dict[str, int] = Field(default_factory=lambda: {"a": 1})


REQUIRED = {"text": "t", "bounded": "b", "number": 2**40, "real": 0.5, "money": Decimal("1.10"), "flag": True}
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
KINDS = {
    "text": Kind.TEXT, "bounded": Kind.TEXT, "number": Kind.INTEGER, "real": Kind.REAL, "money": Kind.DECIMAL,
    "flag": Kind.BOOLEAN, "moment": Kind.TIMESTAMP, "maybe": Kind.INTEGER, "maybe_too": Kind.TEXT,
    "maybe_money": Kind.DECIMAL, "literal": Kind.TEXT, "mixed": Kind.JSON, "colour": Kind.TEXT, "size": Kind.TEXT,
    "level": Kind.JSON, "key": Kind.TEXT, "day": Kind.TEXT, "either": Kind.JSON, "names": Kind.JSON, "part": Kind.JSON,
    "parts": Kind.JSON, "anything": Kind.JSON, "counts": Kind.JSON,
}  # fmt: skip


def row(**changes: object) -> dict[str, object]:
    """The column values of one model, by name."""
    model = Everything.model_validate({**REQUIRED, "moment": MOMENT, **changes})
    [values] = row_reader(Everything)([model])
    return dict(zip(Everything.model_fields, values, strict=True))


def test_every_field_is_a_column_of_its_kind_named_as_the_field() -> None:
    assert columns_of(Everything) == tuple(Column(name, kind) for name, kind in KINDS.items())


def test_plain_values_are_taken_as_they_are() -> None:
    values = row()
    assert {name: values[name] for name in REQUIRED} == REQUIRED
    assert {name: type(values[name]) for name in ("number", "real", "money", "flag")} == {
        "number": int, "real": float, "money": Decimal, "flag": bool,
    }  # fmt: skip


def test_a_text_column_holds_text() -> None:
    values = row()
    assert {name: values[name] for name in ("literal", "colour", "size", "key", "day")} == {
        "literal": "a", "colour": "red", "size": "small", "key": "00000000-0000-0000-0000-000000000007",
        "day": "2026-01-02",
    }  # fmt: skip
    assert all(type(values[name]) is str for name, kind in KINDS.items() if kind is Kind.TEXT and values[name])


@pytest.mark.parametrize(
    "moment",
    [
        MOMENT,
        MOMENT.astimezone(timezone(timedelta(hours=-5))),
        MOMENT.isoformat(),
        "2026-01-02T05:04:05.678901+02:00",
        MOMENT.replace(tzinfo=None),
    ],
    ids=str,
)
def test_a_timestamp_is_in_utc_and_a_naive_one_is_taken_for_utc(moment: object) -> None:
    value = row(moment=moment)["moment"]
    assert value == MOMENT
    assert isinstance(value, datetime)
    assert value.tzinfo is UTC


def test_a_json_column_holds_json() -> None:
    values = row(parts=[{"name": "q", "price": "2.5"}], anything={"deep": [1, {"x": None}]}, either="a")
    read = {name: json.loads(str(values[name])) for name in ("names", "part", "parts", "anything", "counts", "either")}
    assert read == {
        "names": ["é", "\n"],
        "part": {"name": "p", "price": "1.10"},
        "parts": [{"name": "q", "price": "2.5"}],
        "anything": {"deep": [1, {"x": None}]},
        "counts": {"a": 1},
        "either": "a",
    }
    assert (values["level"], values["mixed"]) == ("1", '"a"')


def test_none_is_null_in_every_kind_of_column() -> None:
    values = row(maybe_too=None, size=None)
    assert [values[name] for name in ("maybe", "maybe_too", "maybe_money", "size", "parts", "anything")] == [None] * 6


def test_a_model_of_one_field_has_rows_of_one_value() -> None:
    class One(BaseModel):
        name: str

    assert list(row_reader(One)([One(name="a"), One(name="b")])) == [("a",), ("b",)]
    assert list(row_reader(One)([])) == []


def test_metadata_columns_have_names_of_their_own() -> None:
    names = [column.name for column in METADATA]
    assert len(set(names)) == len(names)
    assert [column.name for column in METADATA if not column.required] == ["subject"]
