"""A request's body: read by pieces up to a limit, and taken apart into events."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable
from io import BytesIO
from typing import TYPE_CHECKING

from flowguard.application.publish import Unreadable
from flowguard.domain.payload import MAX_DEPTH, PayloadError, decode_body
from flowguard.entrypoints.gateway.problems import (
    BAD_ENCODING,
    EMPTY_BODY,
    MEDIA_TYPE_REFUSED,
    NOT_JSON,
    STALLED,
    TOO_LARGE,
    TOO_MANY,
    ProblemError,
)

if TYPE_CHECKING:
    from starlette.requests import Request

LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
_LENIENT = {
    "",
    "application/json",
    "text/json",
    "text/plain",  # what a browser's sendBeacon sends
    "application/x-www-form-urlencoded",  # what curl -d says when nobody told it otherwise
}
_CHARSETS = {"utf-8", "utf8", "us-ascii"}
_BOM = b"\xef\xbb\xbf"
_GZIP = 16 + zlib.MAX_WBITS
_PIECE = 256 * 1024
_INT64 = 2**63


# -- reading -------------------------------------------------------------------------------------------------------


async def read_body(request: Request, max_bytes: int, idle_s: float) -> bytes:
    """The body, unpacked. Raises ProblemError.

    No more than `max_bytes` (plus one piece) is ever held, and no piece is waited for longer than `idle_s` seconds.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip"}:
        raise ProblemError(MEDIA_TYPE_REFUSED, f"Content-Encoding {encoding[:40]!r} is not understood; gzip is")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    sent = _arriving(request.stream(), idle_s)
    pieces = sent if encoding == "identity" else _unpacked(sent)
    held: list[bytes] = []
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        held.append(piece)
    return b"".join(held)


async def _arriving(pieces: AsyncIterator[bytes], idle_s: float) -> AsyncIterator[bytes]:
    """The pieces; a client that stalls holds neither its connection nor a shutdown."""
    try:
        while True:
            async with asyncio.timeout(idle_s):
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield piece
    except TimeoutError as error:
        detail = f"No more of the body came for {idle_s:g} s; nothing of it was logged. Send it again."
        raise ProblemError(STALLED, detail, {"Connection": "close"}) from error


async def _unpacked(packed: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Gunzipped, in pieces that a bomb cannot make large. Members that are joined end to end are one file."""
    gunzip = zlib.decompressobj(_GZIP)
    began = False
    try:
        async for received in packed:
            rest = received
            while rest:
                if gunzip.eof:
                    gunzip = zlib.decompressobj(_GZIP)
                began = True
                piece = b""
                # All input may be taken while output is still held back: a full piece means that there may be more.
                while not gunzip.eof and (rest or len(piece) == _PIECE):
                    piece = gunzip.decompress(rest, _PIECE)
                    yield piece
                    rest = gunzip.unconsumed_tail
                rest = gunzip.unused_data
    except zlib.error as error:
        raise ProblemError(BAD_ENCODING, f"the body is not gzip: {error}") from error
    if began and not gunzip.eof:
        raise ProblemError(BAD_ENCODING, "the gzip body ends too early")


def _too_large(max_bytes: int) -> ProblemError:
    return ProblemError(TOO_LARGE, f"A body may have up to {max_bytes:,} bytes, unpacked. Send it in parts.")


# -- taking apart ----------------------------------------------------------------------------------------------------


def wants_lines(content_type: str) -> bool:
    """Whether the body is said to be newline-delimited. Raises ProblemError for what is not JSON at all."""
    media, _, parameters = content_type.partition(";")
    media = media.strip().lower()
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.strip().lower() == "charset" and value.strip(' "').lower() not in _CHARSETS:
            raise ProblemError(MEDIA_TYPE_REFUSED, f"JSON is sent as UTF-8, not as {value[:40]}")
    if media in LINES:
        return True
    if media in _LENIENT or (media.startswith("application/") and media.endswith("+json")):
        return False
    raise ProblemError(
        MEDIA_TYPE_REFUSED,
        f"Content-Type {media[:80]!r} is not understood. Use application/json (one event, or an array), or"
        " application/x-ndjson (one event a line).",
        {"Accept-Post": "application/json, application/x-ndjson, application/cloudevents+json"},
    )


def value_of(body: bytes) -> tuple[object, bool]:
    """(value, clean) of a body that is one JSON value. Clean: see `events_of`. Raises ProblemError."""
    body = body.removeprefix(_BOM)
    if not body or body.isspace():
        raise ProblemError(EMPTY_BODY, "Send a JSON object.")
    try:
        value, clean = decode_body(body)
    except PayloadError as error:
        raise ProblemError(NOT_JSON, str(error)) from error
    return value, clean and _sound([value], MAX_DEPTH)


def events_of(body: bytes, max_events: int, *, lines: bool) -> tuple[list[object], bool]:
    """(events, clean): of one object, an array, or lines. Clean events hold nothing that a sink could not store.

    Several lines are recognised even where the content type does not say so. Raises ProblemError.
    """
    body = body.removeprefix(_BOM)
    if not body or body.isspace():
        raise ProblemError(EMPTY_BODY, "Send an event as a JSON object, an array of them, or one a line.")
    if lines:
        events, clean = _lines(body, max_events)
    else:
        try:
            value, clean = decode_body(body)
            events = value if isinstance(value, list) else [value]
        except PayloadError as error:
            if not _begins_with_a_line(body):
                raise ProblemError(NOT_JSON, str(error)) from error
            events, clean = _lines(body, max_events)
    if len(events) > max_events:
        raise _too_many(max_events)
    return events, clean and _sound(events, MAX_DEPTH)


def _begins_with_a_line(body: bytes) -> bool:
    """Whether the first line is an object by itself, with more to follow."""
    first, _, more = body.lstrip().partition(b"\n")
    try:
        return isinstance(decode_body(first)[0], dict) and not more.isspace() and bool(more)
    except PayloadError:
        return False


def _lines(body: bytes, max_events: int) -> tuple[list[object], bool]:
    """One event a line; empty lines are passed over. A line that is not JSON costs itself only, unless all are so."""
    first: PayloadError | None = None
    try:
        values, clean = decode_body(body, lines=True)
        # The decoder takes two values in a line, or one in two, as well: then verdicts would not tell of lines.
        if len(values) == sum(not line.isspace() for line in BytesIO(body)):
            return values, clean
    except PayloadError as error:
        first = error
    events: list[object] = []
    clean = True
    for line in BytesIO(body):
        if not line.isspace():
            if len(events) == max_events:
                raise _too_many(max_events)
            try:
                value, fine = decode_body(line)
                events.append(value)
                clean = clean and fine
            except PayloadError as error:
                first = first or error
                events.append(Unreadable(f"not JSON: {error}"))
    if first is not None and all(isinstance(event, Unreadable) for event in events):
        raise ProblemError(NOT_JSON, str(first))
    return events, clean


def _too_many(max_events: int) -> ProblemError:
    return ProblemError(TOO_MANY, f"A request may have up to {max_events:,} events. Send them in parts.")


def _sound(values: Iterable[object], levels: int) -> bool:
    """Whether nothing is nested deeper than so many levels, and every integer fits 64 bits (see payload.faults)."""
    for value in values:
        kind = type(value)
        if kind is str:
            continue
        if kind is dict or kind is list:
            inner = value.values() if isinstance(value, dict) else value
            if levels == 0 or not _sound(inner, levels - 1):  # type: ignore[arg-type]
                return False
        elif kind is int and not -_INT64 <= value < _INT64:  # type: ignore[operator]
            return False
    return True
