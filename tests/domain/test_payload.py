"""JSON that every sink can store, exactly: what is taken, and what is refused."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flowguard.domain import payload
from flowguard.domain.payload import MAX_DEPTH, PayloadError

TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=20,
)
DECIMALS = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(-(10**25), 10**25), st.integers(-40, 40)
)


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


GOOD = [
    b"{}",
    b'{"a":[{}]}',
    b"[1,2]",
    b'"\\\\u0000"',
    b"1e308",
    b"1.7976931348623157e308",
    b"0e99",
    nested(MAX_DEPTH),
    b"9223372036854775807",
    b"-9223372036854775808",
    b'"9223372036854775808"',
    b"0.12345678901234567890123456789",
]
REFUSED = {
    "NUL in a text": b'{"a":"x\\u0000"}',
    "NUL in a name": b'{"\\u0000":1}',
    "a bare NUL": b'"\x00"',
    "NaN": b'{"a":NaN}',
    "Infinity": b"[-Infinity]",
    "beyond a double": b'{"a":1e200000}',
    "just beyond a double": b"1.8e308",
    "too small for a double": b"1e-400",
    "an exponent beyond everything": b"[1e99999999999999999999]",
    "beyond 64 bits": b'{"a":9223372036854775808}',
    "far below 64 bits": b'{"a":[-123456789012345678901234567890]}',
    "not UTF-8": b'"\xff"',
    "a surrogate as UTF-8": b'"\xed\xa0\x80"',
    "half a surrogate pair": b'"\\ud800"',
    "one level too deep": nested(MAX_DEPTH + 1),
    "lists too deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "10,000 levels": b"[" * 10_000 + b"]" * 10_000,
    "nothing": b"",
    "half of it": b'{"a":',
    "two values": b"1 2",
    "no JSON": b"<xml/>",
}


@given(VALUES)
def test_ordinary_json_reads_as_the_standard_library_reads_it(value: object) -> None:
    text = json.dumps(value)
    wanted = json.loads(text, parse_float=Decimal)
    if any("e-3" in word for word in text.split()) and list(payload.faults(wanted)):
        return  # a double that only just is one (5e-324)
    assert payload.decode(text.encode()) == wanted
    assert list(payload.faults(wanted)) == []


@given(VALUES)
def test_what_was_read_is_written_and_read_again_as_the_same(value: object) -> None:
    try:
        once = payload.decode(json.dumps(value).encode())
    except PayloadError:
        return
    assert payload.decode(payload.encode(once)) == once


@given(VALUES)
def test_the_standard_library_reads_what_is_written(value: object) -> None:
    assert json.loads(payload.encode(value)) == value


@given(DECIMALS)
def test_fractions_keep_every_digit(number: Decimal) -> None:
    assume(not list(payload.faults(number)))
    assert payload.decode(payload.encode({"a": number})) == {"a": number}
    assert payload.decode(f"[{number:e}]".encode()) == [number]


def test_money_is_exact() -> None:
    assert payload.decode(b'{"total":0.1}')["total"] + payload.decode(b"0.2") == Decimal("0.3")
    assert str(payload.decode(b"19.90")) == "19.90"
    assert payload.encode(Decimal("19.90")) == b"19.90"


@pytest.mark.parametrize("value", GOOD)
def test_what_every_sink_can_store_is_taken(value: bytes) -> None:
    assert payload.decode(value) == json.loads(value, parse_float=Decimal)
    assert payload.decode_many([value]) == [payload.decode(value)]
    taken, clean = payload.decode_body(value)
    assert taken == payload.decode(value)
    assert clean or not list(payload.faults(taken))


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_what_no_sink_can_store_is_refused(value: bytes) -> None:
    with pytest.raises(PayloadError) as refusal:
        payload.decode(value)
    assert "<class" not in str(refusal.value)


@given(st.lists(st.sampled_from([*GOOD, *(REFUSED[name] for name in (
    "NUL in a text", "NUL in a name", "beyond a double", "beyond 64 bits", "one level too deep", "lists too deep"
))]), max_size=8))  # fmt: skip
def test_many_at_once_are_taken_when_each_of_them_is(values: list[bytes]) -> None:
    def one_by_one() -> list[object] | None:
        try:
            return [payload.decode(value) for value in values]
        except PayloadError:
            return None

    try:
        found = payload.decode_many(values)
    except PayloadError:
        found = None
    assert found == one_by_one()


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_a_value_or_a_payload_error(value: bytes) -> None:
    try:
        decoded = payload.decode(value)
    except PayloadError:
        return
    assert payload.decode(payload.encode(decoded)) == decoded


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": [0, {"b/c~d": "x\x00"}]}, [("/a/1/b~1c~0d", "text must not contain the NUL character (\\u0000)")]),
        ({"a": {"x\x00": 1}}, [("/a", "a name must not contain the NUL character (\\u0000)")]),
        ({"n": 2**63, "m": -(2**63) - 1}, [
            ("/n", "the integer does not fit 64 bits; send it as text"),
            ("/m", "the integer does not fit 64 bits; send it as text"),
        ]),
        ([Decimal("1e400")], [("/0", "the number is out of range")]),
        ([Decimal("NaN")], [("/0", "the number is out of range")]),
        ([Decimal(2**63), Decimal(2**63 - 1), Decimal("1E+40")], [
            ("/0", "the integer does not fit 64 bits; send it as text"),
        ]),
        ([Decimal("-Infinity")], [("/0", "the number is out of range")]),
        ([0.0, float("nan")], [("/1", "the number is out of range")]),
        ([float("inf")], [("/0", "the number is out of range")]),
        ({"ok": True, "n": 2**63 - 1, "d": Decimal("0E-999"), "t": "é"}, []),
    ],
)  # fmt: skip
def test_faults_point_at_what_cannot_be_stored(value: object, told: list[tuple[str, str]]) -> None:
    assert list(payload.faults(value)) == told


def test_faults_go_no_deeper_than_they_allow() -> None:
    deep: object = 1
    for _ in range(MAX_DEPTH + 500):
        deep = [deep]
    assert list(payload.faults(deep)) == [("/0" * MAX_DEPTH, f"nested more than {MAX_DEPTH} levels deep")]


@pytest.mark.parametrize("value", [object(), "\ud800", {"a": [print]}], ids=["object", "surrogate", "function"])
def test_what_json_cannot_hold_is_not_written(value: object) -> None:
    with pytest.raises(PayloadError):
        payload.encode(value)


def test_a_body_of_lines_is_a_list() -> None:
    assert payload.decode_body(b'{"a":1}\n\n{"a":2}\r\n', lines=True) == ([{"a": 1}, {"a": 2}], True)


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("bad", [b"1e400", b"1e99999999999999999999", b"9223372036854775808", b'"\\u0000"'])
def test_one_value_of_a_body_can_be_refused_and_its_neighbours_kept(bad: bytes, lines: bool) -> None:
    body = b'{"a":1}\n{"a":%s}\n' % bad if lines else b'[{"a":1},{"a":%s}]' % bad
    value, clean = payload.decode_body(body, lines=lines)

    assert not clean
    assert [list(payload.faults(one)) != [] for one in value] == [False, True]
    assert [pointer for pointer, _ in payload.faults(value[1])] == ["/a"]


@pytest.mark.parametrize("body", [b"", b"{", b"[1,", b"\xff", b"[" * 10_000 + b"]" * 10_000, b"NaN"])
def test_a_body_that_is_no_json_is_refused_whole(body: bytes) -> None:
    with pytest.raises(PayloadError):
        payload.decode_body(body)
