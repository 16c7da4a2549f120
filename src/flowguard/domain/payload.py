"""JSON as FlowGuard accepts it: what every sink can store, exactly, and nothing else.

JSON parsers accept what databases refuse. Five things are refused here: NUL in text, NaN and Infinity, numbers beyond
what a double or a 64-bit integer holds, bytes that are not UTF-8, and deep nesting. Fractions stay exact: they are read
as Decimal and written with the digits that were read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

import msgspec

MAX_DEPTH = 64
"""Levels of arrays and objects inside one another."""

NUL = b"\\u0000"
"""How JSON text spells the NUL character; it may also be an escaped backslash before u0000."""

_LARGEST_INT = 2**63
_LONG_INT = b"0" * 19
_DIGITS_AS_0 = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))  # noqa: PLR2004  # "0" to "9"
# Beyond these, a double is 0 or infinite, and PostgreSQL's numeric or Snowflake's NUMBER refuses it.
_LARGEST, _SMALLEST = Decimal("1.7976931348623157E+308"), Decimal("1E-308")


def _in_range(number: Decimal) -> bool:
    return not number or (number.is_finite() and _SMALLEST <= number.copy_abs() <= _LARGEST)


def _any_number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of 19 digits
        return Decimal("Infinity")


def _exact(text: str) -> Decimal:
    number = _any_number(text)
    if not _in_range(number):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=_exact)
_lenient: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=_any_number)
_REFUSED = (msgspec.MsgspecError, RecursionError, ValueError)
_encoder = msgspec.json.Encoder(decimal_format="number")


class PayloadError(ValueError):
    """Bytes that are not JSON, or JSON that no sink could store. The text says which."""


def decode(value: bytes) -> Any:  # noqa: ANN401  # JSON can be anything
    """The JSON value of the bytes. Raises PayloadError for what is not JSON, or what no sink could store."""
    try:
        decoded = _decoder.decode(value)
    except _REFUSED as error:
        raise PayloadError(_clear(error)) from error
    if _wants_a_look(value):
        for pointer, message in faults(decoded):
            raise PayloadError(f"{pointer or '/'}: {message}")
    return decoded


def decode_many(values: Sequence[bytes]) -> list[Any]:
    """As `decode`, for many at once. Each of them must be one JSON value already, good or bad as it may be.

    Raises PayloadError if any of them is bad; `decode` tells which.
    """
    joined = b"[%s]" % b",".join(values)
    try:
        decoded: list[Any] = _decoder.decode(joined)
    except _REFUSED as error:
        raise PayloadError(_clear(error)) from error
    # Each object has a bracket for itself, and the list around them all has another one.
    if _wants_a_look(joined, spare=sum(type(one) is dict for one in decoded)):
        for value in filter(_wants_a_look, values):
            decode(value)
    return decoded


def decode_body(body: bytes, *, lines: bool = False) -> tuple[Any, bool]:
    """(value, clean) of a request body; with `lines`, newline-delimited JSON gives a list.

    Not clean means that something in it cannot be stored: `faults` tells what and where, so that one event can be
    refused and its neighbours kept. Nesting is left to the caller. Raises PayloadError for what is not JSON.
    """
    try:
        decoded = _decoder.decode_lines(body) if lines else _decoder.decode(body)
    except _REFUSED:
        try:
            return (_lenient.decode_lines(body) if lines else _lenient.decode(body)), False
        except _REFUSED as error:
            raise PayloadError(_clear(error)) from error
    return decoded, NUL not in body and not _has_long_int(body)


def encode(value: object) -> bytes:
    """Compact JSON. Raises PayloadError for what has no JSON form; what no sink can store, `faults` tells."""
    try:
        return _encoder.encode(value)
    except (TypeError, OverflowError, RecursionError, UnicodeEncodeError, msgspec.MsgspecError) as error:
        raise PayloadError(_clear(error)) from error


def faults(  # noqa: C901  # one case a kind of fault
    value: object, pointer: str = "", depth: int = 0
) -> Iterator[tuple[str, str]]:
    """(JSON pointer, message) of everything in a decoded value that no sink could store."""
    match value:
        case str() if "\x00" in value:
            yield pointer, "text must not contain the NUL character (\\u0000)"
        case Decimal() if not _in_range(value):
            yield pointer, "the number is out of range"
        case float() if not isfinite(value):  # from Python; out of JSON, fractions are Decimals
            yield pointer, "the number is out of range"
        case int() | Decimal() if _is_written_as_int(value) and not -_LARGEST_INT <= value < _LARGEST_INT:
            yield pointer, "the integer does not fit 64 bits; send it as text"
        case dict() | list() if depth >= MAX_DEPTH:
            yield pointer, f"nested more than {MAX_DEPTH} levels deep"
        case dict():
            for name, inner in value.items():
                if "\x00" in name:
                    yield pointer, "a name must not contain the NUL character (\\u0000)"
                step = name.replace("~", "~0").replace("/", "~1")
                yield from faults(inner, f"{pointer}/{step}", depth + 1)
        case list():
            for index, inner in enumerate(value):
                yield from faults(inner, f"{pointer}/{index}", depth + 1)
        case _:
            pass


def _is_written_as_int(value: int | Decimal) -> bool:
    return isinstance(value, int) or value.as_tuple().exponent == 0


def _wants_a_look(value: bytes, spare: int = 0) -> bool:
    """Say whether it may hold a NUL (or an escaped backslash before u0000), a number or a nesting beyond bounds."""
    return NUL in value or _has_long_int(value) or value.count(b"{") + value.count(b"[") > MAX_DEPTH + spare


def _has_long_int(value: bytes) -> bool:
    """Say whether there are 19 digits in a row, anywhere. Without them, no integer is beyond 64 bits."""
    return _LONG_INT in value.translate(_DIGITS_AS_0)


def _clear(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return f"nested too deep (at most {MAX_DEPTH} levels)"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: {error.reason} at byte {error.start}"
    if isinstance(error, UnicodeEncodeError):
        return f"not Unicode text: {error.reason}"
    return str(error)
