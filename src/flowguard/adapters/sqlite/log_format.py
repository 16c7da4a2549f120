"""The body of a batch in the embedded log: records as columns, in msgpack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from flowguard.domain.errors import ConfigurationError
from flowguard.domain.ingestion import Headers
from flowguard.ports.publisher import NewRecord

MAX_BODY_BYTES = 1024 * 1024
"""Above this (in values), records go into another batch: a reader holds one batch more than it was asked for."""


class Body(msgspec.Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Columns of equal length; None where no record has one. A later field can be added at the end, with a default."""

    values: list[bytes]
    keys: list[bytes | None] | None = None
    headers: list[Headers] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Body).decode


def encode(records: Sequence[NewRecord]) -> bytes:
    """The body of these records, at least one."""
    keys, values, headers = zip(*records, strict=True)
    return _encode(
        Body(
            list(values),
            list(keys) if any(key is not None for key in keys) else None,
            list(headers) if any(headers) else None,
        )
    )


def decode(body: bytes, count: int, name: str) -> Body:
    """The records of a body; `name` says which. Raises ConfigurationError where it does not hold `count` of them."""
    try:
        decoded = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{name} is damaged ({error}): put a backup of the log in its place") from error
    if len(decoded.values) != count:
        raise ConfigurationError(
            f"{name} is damaged ({len(decoded.values)} records, not {count}): put a backup of the log in its place"
        )
    return decoded


def pieces(records: Sequence[NewRecord]) -> Iterator[Sequence[NewRecord]]:
    """The records in order, cut into pieces of at most MAX_BODY_BYTES; a larger record is a piece of its own."""
    if not records:
        return
    sizes = [len(record[1]) for record in records]
    if sum(sizes) <= MAX_BODY_BYTES:
        yield records
        return
    start = held = 0
    for index, size in enumerate(sizes):
        if held and held + size > MAX_BODY_BYTES:
            yield records[start:index]
            start, held = index, 0
        held += size
    yield records[start:]
