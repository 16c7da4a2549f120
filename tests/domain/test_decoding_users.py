"""A user's upcasters, validators, rules and fields: whatever they do, it costs their own record only."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, field_serializer, field_validator, model_validator

from flowguard.domain.catalog import Data, EventType
from flowguard.domain.dead_letters import Reason
from tests.builders import place
from tests.domain.decoded import bad, column, decode, lone, offsets, wrap


class Note(BaseModel):
    """A user's model, whose validator has a bug."""

    key: str
    text: str
    extra: Any = None

    @field_validator("text")
    @classmethod
    def _is_polite(cls, text: str) -> str:
        if text == "bug":
            raise ZeroDivisionError("a validator's bug")
        if text == "rude":
            raise ValueError("be polite")
        return text


class Renamed(BaseModel):
    """A user's model, whose validator changes what it is given."""

    key: str
    text: str

    @model_validator(mode="before")
    @classmethod
    def _take_the_old_name(cls, data: Data) -> Data:
        data["text"] = data.pop("old_text") + "!"
        return data


class Shouted(BaseModel):
    """As above, and it would change what it changed before."""

    key: str
    text: str

    @model_validator(mode="before")
    @classmethod
    def _shout(cls, data: Data) -> Data:
        data["text"] += "!"
        return data


class Inner(BaseModel):
    number: int

    @field_serializer("number")
    def _half(self, number: int) -> int:
        if number % 2:
            raise RuntimeError("a serializer's bug")
        return number // 2


class Outer(BaseModel):
    key: str
    inner: Inner


def upcast_note(data: Data) -> Data:
    if "boom" in data:
        del data["key"]
        raise KeyError("boom")
    data["text"] = data.pop("message")
    return data


NOTES = EventType(
    "notes", Note, key="key", version=3, upcasters={1: upcast_note, 2: lambda data: {**data, "key": data["key"] + "!"}}
)


def test_old_versions_are_read_by_their_upcasters_and_stored_as_they_were_sent() -> None:
    values = [
        wrap(NOTES, {"key": "k", "message": "one"}, 1),
        wrap(NOTES, {"key": "k", "text": "two"}, 2),
        wrap(NOTES, {"key": "k", "text": "three"}, 3),
        wrap(NOTES, {"key": "k", "text": "four"}, 4),
    ]
    decoded = decode(lone(NOTES), values, place(NOTES))

    assert column(decoded, "text") == ["one", "two", "three"]
    assert column(decoded, "key") == ["k!", "k!", "k"]
    assert column(decoded, "schema_version") == [1, 2, 3]
    assert json.loads(str(column(decoded, "payload")[0])) == {"key": "k", "message": "one"}
    assert bad(decoded) == {3: Reason.UNKNOWN_SCHEMA_VERSION}
    assert "known: 1 to 3" in decoded.rejections[0].error


def test_an_upcaster_that_raises_costs_its_record_only() -> None:
    good = wrap(NOTES, {"key": "k", "message": "one"}, 1)
    values = [good, wrap(NOTES, {"key": "k", "boom": 1}, 1), wrap(NOTES, {"message": "m"}, 1), wrap(NOTES, [], 1), good]
    decoded = decode(lone(NOTES), values, place(NOTES))

    assert offsets(decoded) == [0, 4]
    assert bad(decoded) == {1: Reason.UPCAST_FAILED, 2: Reason.UPCAST_FAILED, 3: Reason.INVALID}
    assert decoded.rejections[0].error == "from version 1: KeyError: 'boom'"


@pytest.mark.parametrize(
    "garbage", [lambda data: None, lambda data: {1, 2}, lambda data: object(), lambda data: [data]]
)
def test_an_upcaster_that_returns_garbage_costs_its_record_only(garbage: Callable[[Data], Any]) -> None:
    notes = EventType("notes", Note, key="key", version=2, upcasters={1: garbage})
    values = [wrap(notes, {"key": "k", "text": "t"}, version) for version in (2, 1, 2)]
    decoded = decode(lone(notes), values, place(notes))

    assert offsets(decoded) == [0, 2]
    assert bad(decoded) == {1: Reason.INVALID}


def test_a_validator_with_a_bug_costs_its_record_only() -> None:
    texts = ["one", "bug", "two", "rude", "three", 7]
    values = [wrap(NOTES, {"key": "k", "text": text}) for text in texts]
    decoded = decode(lone(NOTES), values, place(NOTES))

    assert column(decoded, "text") == ["one", "two", "three"]
    assert bad(decoded) == dict.fromkeys((1, 3, 5), Reason.INVALID)
    told = {one.offset: one.error for one in decoded.rejections}
    assert "ZeroDivisionError: a validator's bug" in told[1]
    assert "/text: Value error, be polite" in told[3]
    assert "/text: Input should be a valid string" in told[5]


@pytest.mark.parametrize("neighbour", [{"key": "k"}, {"key": 7, "old_text": "x"}, {"key": "k", "old_text": 1}, []])
def test_a_validator_that_changes_its_input_sees_each_event_as_it_was_sent(neighbour: object) -> None:
    renamed = EventType("notes", Renamed, key="key")
    good = wrap(renamed, {"key": "k", "old_text": "t"})
    decoded = decode(lone(renamed), [good, wrap(renamed, neighbour), good], place(renamed))

    assert offsets(decoded) == [0, 2]
    assert column(decoded, "text") == ["t!", "t!"]
    assert bad(decoded) == {1: Reason.INVALID}


def test_a_validator_that_changes_its_input_changes_it_once() -> None:
    shouted = EventType("notes", Shouted, key="key")
    values = [wrap(shouted, {"key": key, "text": "t"}) for key in ("k", 7, "k")]
    decoded = decode(lone(shouted), values, place(shouted))

    assert offsets(decoded) == [0, 2]
    assert column(decoded, "text") == ["t!", "t!"]


def test_a_field_that_cannot_be_written_as_json_costs_its_record_only() -> None:
    outers = EventType("notes", Outer, key="key")
    values = [wrap(outers, {"key": "k", "inner": {"number": number}}) for number in (2, 3, 4)]
    decoded = decode(lone(outers), values, place(outers))

    assert column(decoded, "inner") == ['{"number":1}', '{"number":2}']
    assert offsets(decoded) == [0, 2]
    assert bad(decoded) == {1: Reason.INVALID}
    assert "a serializer's bug" in decoded.rejections[0].error


def test_a_rule_filters_and_a_rule_that_raises_costs_its_record_only() -> None:
    def keep(note: Note) -> bool:
        return bool(1 / len(note.text) and note.text != "drop")

    kept = EventType("notes", Note, key="key", keep=keep)
    values = {
        at: wrap(kept, {"key": "k", "text": text})
        for at, text in ((3, "a"), (5, "drop"), (6, ""), (9, "drop"), (12, "b"))
    }
    decoded = decode(lone(kept), values, place(kept), incarnation=2)

    assert offsets(decoded) == [3, 12]
    [filtered] = decoded.filtered
    assert (filtered.event_type, filtered.partition, filtered.incarnation) == (kept, place(kept), 2)
    assert filtered.offsets == [5, 9]
    assert bad(decoded) == {6: Reason.INVALID}
    assert decoded.rejections[0].error == "its keep rule raised ZeroDivisionError: division by zero"


def test_a_run_that_is_filtered_whole_has_no_rows() -> None:
    nothing = EventType("notes", Note, key="key", keep=lambda note: False)
    decoded = decode(lone(nothing), [wrap(nothing, {"key": "k", "text": "t"})], place(nothing))
    assert (decoded.rows, decoded.rejections) == ([], [])
    assert decoded.filtered[0].offsets == [0]
