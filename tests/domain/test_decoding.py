"""From the log's bytes to rows: every reason for a dead letter, and that a bad record costs itself only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, field_serializer, field_validator, model_validator

from flowguard.domain.batching import Batch
from flowguard.domain.catalog import BUILT_IN, Catalog, Data, EventType
from flowguard.domain.columns import METADATA
from flowguard.domain.dead_letters import Reason, Rejection
from flowguard.domain.decoding import BatchDecoder, Decoded
from flowguard.domain.ingestion import INGESTION_ID_HEADER, Claim, Headers, TopicPartition
from tests.builders import CLICKS, NOW, ORDERS, event, place, run

HERE = place(CLICKS)
GOOD = event(CLICKS, "good")


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


def lone(event_type: EventType) -> BatchDecoder:
    return BatchDecoder(Catalog([event_type]))


def wrap(event_type: EventType, data: object, version: int | None = None, **changes: object) -> bytes:
    """The data in an envelope, as the standard library writes it."""
    fields = {
        "specversion": "1.0",
        "id": "e",
        "source": "s",
        "type": event_type.name,
        "time": "2026-01-02T03:04:05Z",
        "schemaversion": version or event_type.version,
        "data": data,
    }
    return json.dumps({**fields, **changes}).encode()


def decode(
    decoder: BatchDecoder,
    values: list[bytes] | Mapping[int, bytes],
    where: TopicPartition = HERE,
    *,
    excluded: frozenset[int] = frozenset(),
    headers: Mapping[int, Headers] | None = None,
    incarnation: int = 1,
) -> Decoded:
    records = values if isinstance(values, Mapping) else dict(enumerate(values))
    batch = Batch(1, (run(where, records, headers),), frozenset((where, offset) for offset in excluded))
    return decoder.decode(batch, {where: Claim(where, incarnation, 1, None)}, NOW)


def offsets(decoded: Decoded) -> list[int]:
    return [offset for rows in decoded.rows for offset in rows.offsets]


def column(decoded: Decoded, name: str) -> list[object]:
    """The values of one column, over all rows."""
    found = []
    for rows in decoded.rows:
        names = [*(one.name for one in METADATA), *rows.event_type.model.model_fields]
        found += [value[names.index(name)] for value in rows.values]
    return found


def bad(decoded: Decoded) -> dict[int, Reason]:
    assert len({one.offset for one in decoded.rejections}) == len(decoded.rejections)
    return {one.offset: one.reason for one in decoded.rejections}


CLICK_DATA = {"user_id": "u", "session_id": "s", "item_id": 1, "ad_id": "a"}
BUILT_IN_DECODER = BatchDecoder(Catalog(BUILT_IN))


@pytest.mark.parametrize(
    ("value", "reason", "told", "event_id"),
    [
        (b"", Reason.MALFORMED, "truncated", None),
        (b"\xff\x00", Reason.MALFORMED, "malformed", None),
        (b"[]", Reason.MALFORMED, "Expected `object`", None),
        (b'{"id":"e"}', Reason.MALFORMED, "missing required field", None),
        (wrap(CLICKS, CLICK_DATA, id=""), Reason.MALFORMED, "length >= 1", None),
        (wrap(CLICKS, CLICK_DATA, time="2026-01-02T03:04:05"), Reason.MALFORMED, "timezone", None),
        (wrap(CLICKS, CLICK_DATA, time="0001-01-01T00:00:00+01:00"), Reason.MALFORMED, "out of range", None),
        (wrap(CLICKS, CLICK_DATA, id="a\x00b"), Reason.MALFORMED, "the envelope contains the NUL character", None),
        (wrap(CLICKS, CLICK_DATA, subject="\x00"), Reason.MALFORMED, "the envelope contains the NUL", None),
        (wrap(CLICKS, {**CLICK_DATA, "page": "a\x00"}), Reason.MALFORMED, "/page: text must not contain the NUL", "e"),
        (wrap(CLICKS, CLICK_DATA).replace(b'"u"', b"1e400"), Reason.MALFORMED, "1e400 is out of range", "e"),
        (wrap(CLICKS, {**CLICK_DATA, "n": 2**64}), Reason.MALFORMED, "/n: the integer does not fit 64 bits", "e"),
        (wrap(CLICKS, CLICK_DATA, type="orders"), Reason.UNKNOWN_EVENT_TYPE, "topic carries 'clicks'", "e"),
        (wrap(CLICKS, CLICK_DATA, 2), Reason.UNKNOWN_SCHEMA_VERSION, "version 2 of clicks is unknown (known: 1)", "e"),
        (wrap(CLICKS, {"user_id": "u"}), Reason.INVALID, "/session_id: Field required; /item_id: Field", "e"),
        (wrap(CLICKS, []), Reason.INVALID, "", "e"),
        (wrap(CLICKS, None), Reason.INVALID, "", "e"),
        (wrap(CLICKS, 7), Reason.INVALID, "", "e"),
    ],
)
def test_each_fault_has_its_reason_and_costs_itself_only(
    value: bytes, reason: Reason, told: str, event_id: str | None
) -> None:
    decoded = decode(BUILT_IN_DECODER, [GOOD, value, event(CLICKS, "more")])

    assert offsets(decoded) == [0, 2]
    [rejection] = decoded.rejections
    assert (rejection.partition, rejection.offset, rejection.reason) == (HERE, 1, reason)
    assert told in rejection.error
    assert rejection.event_id == event_id


def test_a_topic_that_the_catalog_does_not_know_is_no_crash() -> None:
    where = TopicPartition("raw.payments.v1", 0)
    decoded = decode(BUILT_IN_DECODER, [GOOD, b"?", GOOD], where, excluded=frozenset({1}))
    text = "no event type of the catalog has the topic raw.payments.v1"
    assert decoded.rejections == [Rejection(where, offset, Reason.UNKNOWN_EVENT_TYPE, text) for offset in (0, 2)]
    assert decoded.rows == []


def test_a_row_holds_all_metadata_and_the_fields_of_the_model() -> None:
    value = event(CLICKS, "e7", source="web", subject="cart", page="/menu", colour="red")
    decoded = decode(BUILT_IN_DECODER, {237: value}, TopicPartition(CLICKS.topic, 3), incarnation=2)

    [rows] = decoded.rows
    assert (rows.event_type, rows.partition, rows.incarnation) == (CLICKS, (CLICKS.topic, 3), 2)
    [row] = rows.values
    named = dict(zip([*(one.name for one in METADATA), *CLICKS.model.model_fields], row, strict=True))
    stored = named.pop("payload")
    assert json.loads(stored) == {
        "user_id": "u1", "session_id": "s1", "item_id": "42", "ad_id": "food_42", "page": "/menu", "colour": "red",
    }  # fmt: skip
    assert named == {
        "event_id": "e7", "event_type": "clicks", "schema_version": 1, "source_topic": "raw.clicks.v1",
        "source_incarnation": 2, "source_partition": 3, "source_offset": 237, "producer_service": "web",
        "ingestion_id": "raw.clicks.v1@2-3-237", "subject": "cart", "occurred_at": NOW, "ingested_at": NOW,
        "user_id": "u1", "session_id": "s1", "item_id": "42", "ad_id": "food_42", "page": "/menu", "referrer": None,
    }  # fmt: skip


def test_the_payload_is_kept_with_the_bytes_that_were_sent() -> None:
    value = b'{"id":"e","source":"s","type":"clicks","time":"2026-01-02T03:04:05Z","data":%s}'
    data = b'{ "user_id":"\\u00e9", "session_id":"s","item_id":1,"ad_id":"a","price":1.10 }'
    decoded = decode(BUILT_IN_DECODER, [value % data])
    assert column(decoded, "payload") == [data.decode()]


def test_money_stays_exact() -> None:
    lines = [{"item_id": 1, "quantity": 3, "unit_price": Decimal("0.1")}]
    value = event(ORDERS, "o", lines=lines, total=Decimal("0.3"))
    decoded = decode(BUILT_IN_DECODER, [value], place(ORDERS))
    assert column(decoded, "total") == [Decimal("0.3")]
    assert json.loads(str(column(decoded, "lines")[0])) == [{"item_id": "1", "quantity": 3, "unit_price": "0.1"}]


def test_excluded_records_are_passed_over() -> None:
    decoded = decode(BUILT_IN_DECODER, {5: b"bad", 7: GOOD, 9: GOOD}, excluded=frozenset({5, 9}))
    assert offsets(decoded) == [7]
    assert decoded.rejections == []


def test_a_partition_without_a_claim_is_a_bug_of_the_caller() -> None:
    with pytest.raises(KeyError):
        BUILT_IN_DECODER.decode(Batch(1, (run(HERE, {0: GOOD}),)), {}, NOW)


@pytest.mark.parametrize(
    ("header", "ingestion_id"),
    [
        (((INGESTION_ID_HEADER, b"raw.clicks.v1@2-1-7"),), "raw.clicks.v1@2-1-7"),
        ((("trace", b"\xff"), (INGESTION_ID_HEADER, b"raw.clicks.v1-0-7")), "raw.clicks.v1-0-7"),
        (((INGESTION_ID_HEADER, b"nonsense"),), "raw.clicks.v1-0-1"),
        (((INGESTION_ID_HEADER, b"\xff"),), "raw.clicks.v1-0-1"),
        ((), "raw.clicks.v1-0-1"),
    ],
)
def test_a_relayed_record_keeps_its_first_id(header: Headers, ingestion_id: str) -> None:
    decoded = decode(BUILT_IN_DECODER, [GOOD, event(CLICKS, "again")], headers={1: header})
    assert column(decoded, "ingestion_id") == ["raw.clicks.v1-0-0", ingestion_id]
    assert offsets(decoded) == [0, 1]


# -- what users bring along ------------------------------------------------------------------------------------------


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
    assert [json.loads(str(one)) for one in column(decoded, "payload")][0] == {"key": "k", "message": "one"}
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


def test_the_error_of_a_dead_letter_is_bounded() -> None:
    decoded = decode(
        BUILT_IN_DECODER, [wrap(CLICKS, CLICK_DATA, type="x" * 10**6), wrap(CLICKS, {str(n): n for n in range(9)})]
    )
    assert all(0 < len(one.error) <= 2_000 for one in decoded.rejections)


# -- properties ------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = {"id": st.text(), "source": st.text(), "type": st.sampled_from(["clicks", "orders"]) | JSON,
          "time": st.datetimes().map(str) | st.sampled_from(["9999-12-31T23:00:00-05:00", "2026-01-02T03:04:05Z"]) | JSON,
          "schemaversion": st.integers(), "subject": JSON, "data": JSON | st.just(CLICK_DATA), "specversion": JSON}  # fmt: skip
BAD = (b"", b"\xff", b"{", wrap(CLICKS, {}), wrap(CLICKS, CLICK_DATA, 9), wrap(CLICKS, CLICK_DATA, type="x"),
       wrap(CLICKS, {**CLICK_DATA, "x": "\x00"}), wrap(CLICKS, 1), wrap(CLICKS, CLICK_DATA, id="\x00"))  # fmt: skip


@given(st.lists(st.booleans() | st.sampled_from(BAD), max_size=12), st.data())
def test_a_batch_with_bad_ones_gives_exactly_the_good_rows_in_order(
    marks: list[bool | bytes], data: st.DataObject
) -> None:
    if not marks:
        return
    steps = data.draw(st.lists(st.integers(1, 9), min_size=len(marks), max_size=len(marks)))
    places = [sum(steps[: index + 1]) for index in range(len(marks))]
    values = {
        at: event(CLICKS, f"e{at}") if isinstance(mark, bool) else mark for at, mark in zip(places, marks, strict=True)
    }
    excluded = frozenset(data.draw(st.sets(st.sampled_from(places))))

    decoded = decode(BUILT_IN_DECODER, values, excluded=excluded)

    good = [at for at, mark in zip(places, marks, strict=True) if isinstance(mark, bool) and at not in excluded]
    assert offsets(decoded) == good
    assert column(decoded, "event_id") == [f"e{at}" for at in good]
    assert column(decoded, "source_offset") == good
    assert column(decoded, "ingestion_id") == [f"raw.clicks.v1-0-{at}" for at in good]
    assert sorted(bad(decoded)) == [at for at in places if at not in good and at not in excluded]


@given(
    st.lists(
        st.binary(max_size=60) | st.fixed_dictionaries({}, optional=FIELDS).map(lambda one: json.dumps(one).encode()),
        min_size=1,
        max_size=6,
    )
)
def test_no_bytes_make_the_decoder_raise_and_every_record_is_accounted_for(values: list[bytes]) -> None:
    decoded = decode(BUILT_IN_DECODER, values)
    assert sorted([*offsets(decoded), *bad(decoded)]) == list(range(len(values)))
