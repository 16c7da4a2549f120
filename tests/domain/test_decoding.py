"""From the log's bytes to rows: every reason for a dead letter, and that a bad record costs itself only."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.domain.batching import Batch
from flowguard.domain.catalog import BUILT_IN, Catalog
from flowguard.domain.columns import METADATA
from flowguard.domain.dead_letters import Reason, Rejection
from flowguard.domain.decoding import BatchDecoder
from flowguard.domain.ingestion import INGESTION_ID_HEADER, Claim, Headers, TopicPartition
from tests.builders import CATALOG, CLICKS, NOW, ORDERS, event, place, run
from tests.domain.decoded import HERE, bad, column, decode, offsets, wrap

GOOD = event(CLICKS, "good")


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
TIMES = st.sampled_from(["9999-12-31T23:00:00-05:00", "2026-01-02T03:04:05Z"])
FIELDS = {
    "id": st.text(),
    "source": st.text(),
    "type": st.sampled_from(["clicks", "orders"]) | JSON,
    "time": TIMES | st.datetimes().map(str) | JSON,
    "schemaversion": st.integers(),
    "subject": JSON,
    "data": st.just(CLICK_DATA) | JSON,
    "specversion": st.just("1.0") | JSON,
}
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


def test_a_long_run_is_read_in_pieces_and_comes_out_as_one() -> None:
    garbled = {0, 999, 1_000, 2_499}
    values = {at: b"no json" if at in garbled else event(CLICKS, f"e{at}") for at in range(2_500)}
    where = place(CLICKS)
    decoded = BatchDecoder(CATALOG).decode(Batch(1, (run(where, values),)), {where: Claim(where, 1, 1, None)}, NOW)
    (read,) = decoded.rows
    assert read.offsets == [at for at in range(2_500) if at not in garbled]
    assert [row[0] for row in read.values] == [f"e{at}" for at in read.offsets]
    assert {one.offset for one in decoded.rejections} == garbled
