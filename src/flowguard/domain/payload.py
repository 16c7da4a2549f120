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


def _exact(text: str) -> Decimal:
    number = Decimal(text)
    # Beyond this, a double is 0 or infinite, and PostgreSQL's numeric or Snowflake's NUMBER refuses it.
    if not -308 <= number.adjusted() <= 308 and number:  # noqa: PLR2004  # the exponents of a double
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=_exact)
_lenient: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)
_REFUSED = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, InvalidOperation, ValueError)
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
    if _wants_a_look(joined, spare=len(values)):
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
    return decoded, NUL not in body


def encode(value: object) -> bytes:
    """Compact JSON. Raises PayloadError for what JSON or a sink cannot hold (a set, an integer beyond 64 bits)."""
    try:
        return _encoder.encode(value)
    except (TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise PayloadError(str(error)) from error


def faults(  # noqa: C901  # one case a kind of fault
    value: object, pointer: str = "", depth: int = 0
) -> Iterator[tuple[str, str]]:
    """(JSON pointer, message) of everything in a decoded value that no sink could store."""
    match value:
        case str() if "\x00" in value:
            yield pointer, "text must not contain the NUL character (\\u0000)"
        case Decimal() if not value.is_finite() or (value and not -308 <= value.adjusted() <= 308):  # noqa: PLR2004  # see _exact
            yield pointer, "the number is out of range"
        case float() if not isfinite(value):  # from Python; out of JSON, fractions are Decimals
            yield pointer, "the number is out of range"
        case int() if not -_LARGEST_INT <= value < _LARGEST_INT:
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


def _wants_a_look(value: bytes, spare: int = 0) -> bool:
    """May it hold a NUL (or an escaped backslash before u0000), or be nested too deep? Fewer brackets cannot be."""
    return NUL in value or value.count(b"{") + value.count(b"[") > MAX_DEPTH + spare


def _clear(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return f"nested too deep (at most {MAX_DEPTH} levels)"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: {error.reason} at byte {error.start}"
    return str(error)
