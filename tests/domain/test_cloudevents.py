"""CloudEvents in both content modes: the same event lands as the same row, and what is none says why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.domain import payload
from flowguard.domain.catalog import BUILT_IN, Catalog, EventType
from flowguard.domain.cloudevents import binary_of, event_of
from flowguard.domain.dead_letters import Reason
from flowguard.domain.decoding import BatchDecoder, Decoded
from flowguard.domain.events import Envelope
from flowguard.domain.ingestion import INGESTION_ID_HEADER, Headers
from tests.builders import CATALOG, CLICKS, ORDERS, SAMPLES, event, place
from tests.domain.decoded import bad, column, decode, offsets, wrap

DECODER = BatchDecoder(Catalog(BUILT_IN))
DATA = json.dumps(SAMPLES["clicks"]).encode()
REQUIRED = {
    "ce_specversion": "1.0", "ce_id": "e", "ce_source": "s", "ce_type": "clicks", "ce_time": "2026-01-02T03:04:05Z",
}  # fmt: skip


def headers(**changes: str | bytes | None) -> Headers:
    """The required ones, changed; `content_type` is content-type, and None leaves one out."""
    named = {name.replace("content_type", "content-type"): text for name, text in (REQUIRED | changes).items()}
    return tuple(
        (name, text.encode() if isinstance(text, str) else text) for name, text in named.items() if text is not None
    )


def both(values: Sequence[bytes], some: Headers) -> Decoded:
    """The values between two structured neighbours, with these headers."""
    records = [event(CLICKS, "before"), *values, event(CLICKS, "after")]
    return decode(DECODER, records, headers=dict.fromkeys(range(1, 1 + len(values)), some))


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "some",
    [
        headers(),
        headers(ce_schemaversion="1", ce_subject="u1", ce_traceparent=b"\xff", trace=b"\xff"),
        headers(content_type="application/json"),
        headers(content_type="Application/JSON; charset=utf-8"),
        headers(content_type="application/vnd.shop.click+json"),
        tuple((name.title(), text) for name, text in headers(content_type="application/json")),
        (("ce_id", b"another"), *headers()),
    ],
    ids=["least", "more", "json", "any-case", "suffix", "names-in-any-case", "the-last-one-counts"],
)
def test_a_binary_event_lands_beside_structured_ones(some: Headers) -> None:
    decoded = both([DATA], some)
    assert decoded.rejections == []
    assert column(decoded, "event_id") == ["before", "e", "after"]
    assert column(decoded, "producer_service") == ["shop", "s", "shop"]
    assert column(decoded, "payload")[1] == DATA.decode()


@pytest.mark.parametrize(
    "content_type", ["application/cloudevents+json", "Application/CloudEvents+JSON; charset=UTF-8"]
)
def test_the_content_type_makes_a_record_structured_whatever_other_headers_repeat(content_type: str) -> None:
    decoded = both([event(CLICKS, "inside")], headers(content_type=content_type))
    assert column(decoded, "event_id") == ["before", "inside", "after"]


@pytest.mark.parametrize("some", [(("trace", b"1"),), (("content-type", b"application/json"),), (("ce_id", b"x"),)])
def test_headers_of_others_leave_a_record_structured(some: Headers) -> None:
    assert column(both([event(CLICKS, "inside")], some), "event_id") == ["before", "inside", "after"]


def test_a_replayed_binary_event_keeps_its_first_id() -> None:
    decoded = both([DATA], (*headers(), (INGESTION_ID_HEADER, b"raw.clicks.v1-0-7")))
    assert column(decoded, "ingestion_id")[1] == "raw.clicks.v1-0-7"


def test_what_stands_around_the_data_is_not_stored() -> None:
    decoded = both([b" \n" + DATA + b"\r\n"], headers())
    assert column(decoded, "payload")[1] == DATA.decode()


# -- what is rejected --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ce_id": None}, "a CloudEvent in binary mode, without ce_id"),
        ({"ce_type": None, "ce_time": None, "ce_source": None}, "without ce_source, ce_time, ce_type"),
        ({"ce_id": ""}, "Expected `str` of length >= 1 - at `ce_id`"),
        ({"ce_source": "s" * 257}, "Expected `str` of length <= 256 - at `ce_source`"),
        ({"ce_source": b"\xff"}, "the header ce_source is not UTF-8"),
        ({"ce_id": "a\x00b"}, "contains the NUL character"),
        ({"ce_subject": "\x00"}, "contains the NUL character"),
        ({"ce_specversion": "0.3"}, "Invalid value '0.3' - at `ce_specversion`"),
        ({"ce_time": "2026-01-02"}, "Invalid RFC3339 encoded datetime - at `ce_time`"),
        ({"ce_time": "1700000000"}, "at `ce_time`"),
        ({"ce_time": "2026-01-02T03:04:05"}, "timezone component - at `ce_time`"),
        ({"ce_time": "0001-01-01T00:00:00+01:00"}, "out of range in UTC"),
        ({"ce_schemaversion": "one"}, "Expected `int`, got `str` - at `ce_schemaversion`"),
        ({"ce_schemaversion": "-1"}, "at `ce_schemaversion`"),
        ({"ce_schemaversion": "²"}, "at `ce_schemaversion`"),
        ({"ce_schemaversion": "9" * 5_000}, "at `ce_schemaversion`"),
        ({"content_type": "application/avro"}, "the content type is 'application/avro': only JSON can land"),
        ({"content_type": b"\xff"}, "only JSON can land"),
        ({"content_type": "application/cloudevents+avro"}, "of CloudEvents, only the JSON format is read"),
        ({"content_type": "application/cloudevents-batch+json"}, "of CloudEvents, only the JSON format is read"),
    ],
)
def test_bad_attributes_are_named_and_cost_their_record_only(changes: dict[str, str | bytes | None], told: str) -> None:
    decoded = both([DATA], headers(**changes))
    assert offsets(decoded) == [0, 2]
    assert bad(decoded) == {1: Reason.MALFORMED}
    assert told in decoded.rejections[0].error


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"", "the value, which is its data, is no JSON: Input data was truncated"),
        (b"click", "the value, which is its data, is no JSON"),
        (DATA + b"," + DATA, "trailing characters"),
        (b'{"user_id":"\xff"}', ""),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_value_that_is_not_one_json_value_costs_its_record_only(value: bytes, told: str) -> None:
    decoded = both([value, DATA], headers())
    assert column(decoded, "event_id") == ["before", "e", "after"]
    assert bad(decoded) == {1: Reason.MALFORMED}
    assert told in decoded.rejections[0].error


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ce_type": "orders"}, Reason.UNKNOWN_EVENT_TYPE),
        ({"ce_type": "a\x00"}, Reason.UNKNOWN_EVENT_TYPE),
        ({"ce_schemaversion": "9"}, Reason.UNKNOWN_SCHEMA_VERSION),
    ],
)
def test_the_reasons_are_those_of_the_structured_mode(changes: dict[str, str | bytes | None], reason: Reason) -> None:
    decoded = both([DATA], headers(**changes))
    assert bad(decoded) == {1: reason}
    assert decoded.rejections[0].event_id == "e"


# -- both modes --------------------------------------------------------------------------------------------------------

TEXT = st.text(min_size=1, max_size=20).filter(lambda text: "\x00" not in text)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])
TIMES = st.datetimes(timezones=ZONES).filter(lambda time: 1 < time.year < 9999).map(lambda time: time.isoformat())
MORE = st.dictionaries(st.sampled_from(["page", "note", "n"]), st.none() | st.booleans() | TEXT, max_size=3)


@given(
    st.sampled_from([CLICKS, ORDERS]),
    st.fixed_dictionaries({"id": TEXT, "source": TEXT, "time": TIMES}, optional={"subject": TEXT | st.just("")}),
    st.integers(1, 2),
    MORE,
    st.booleans(),
)
def test_an_event_gives_the_same_row_or_the_same_reason_in_both_modes(
    event_type: EventType, attributes: dict[str, str], version: int, more: dict[str, object], indented: bool
) -> None:
    data = {**json.loads(payload.encode(SAMPLES[event_type.name])), **more}
    fields = {"specversion": "1.0", "type": event_type.name, "schemaversion": version, "data": data, **attributes}
    structured = json.dumps(fields, indent=2 if indented else None, ensure_ascii=False).encode()
    value, some = binary_of(structured)

    there = decode(DECODER, [structured], place(event_type))
    here = decode(DECODER, [value], place(event_type), headers={0: some})

    assert [rows.values for rows in here.rows] == [rows.values for rows in there.rows]
    assert here.rejections == there.rejections


@given(st.sampled_from(list(CATALOG)), TEXT, st.none() | TEXT)
def test_what_is_written_in_binary_mode_is_read_back_as_it_was(
    event_type: EventType, text: str, subject: str | None
) -> None:
    structured = event(event_type, text, source=text, subject=subject)
    value, some = binary_of(structured)
    assert event_of(some, value) == msgspec.json.decode(structured, type=Envelope)
    assert value == bytes(msgspec.json.decode(structured, type=Envelope).data)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*REQUIRED, "content-type", "ce_subject", "ce_schemaversion", "CE_ID"]),
            st.binary(max_size=8) | st.sampled_from([text.encode() for text in REQUIRED.values()]),
        ),
        max_size=9,
    ).map(tuple),
    st.binary(max_size=20) | st.sampled_from([DATA, wrap(CLICKS, SAMPLES["clicks"])]),
)
def test_no_headers_make_the_decoder_raise(some: Headers, value: bytes) -> None:
    decoded = decode(DECODER, [value], headers={0: some})
    assert [*offsets(decoded), *bad(decoded)] == [0]
