"""Rows as JSON documents: one array a row, whose first value is the row's number in its batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import msgspec

from flowguard.adapters.snowflake.tables import SCALE, BronzeTable
from flowguard.domain.columns import METADATA, Kind
from flowguard.domain.errors import PermanentError, RowFault
from flowguard.domain.ingestion import IngestionId, ingestion_id_prefix
from flowguard.domain.rows import Rows

_encode: Final = msgspec.json.Encoder(decimal_format="string").encode
_INTEGERS: Final = range(-(2**63), 2**63)
_AT: Final = {column.name: at for at, column in enumerate(METADATA)}
_INGESTION_ID, _SERVICE, _EVENT = _AT["ingestion_id"], _AT["producer_service"], _AT["event_id"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one table, in the order in which they are written, each as its document.

    A document ends with the ingestion id of the row before it that is the same event, or record, where there is one;
    and with true, where it was relayed: its own id is of another place. `places`: where each stood in the log.
    `relayed`: the ids of those that were.
    """

    table: BronzeTable
    documents: list[bytes] = field(default_factory=list)
    places: list[IngestionId] = field(default_factory=list)
    relayed: list[IngestionId] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.documents)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The rows of a piece, by what makes two of them one: each is (ingestion id, was it relayed)."""

    by_id: dict[str, tuple[str, bool]] = field(default_factory=dict)
    by_event: dict[tuple[str, str], tuple[str, bool]] = field(default_factory=dict)


def pieces_of(table: BronzeTable, together: Sequence[Rows]) -> list[Piece]:
    """The rows of one table, to be written one piece after the other; one piece, but for what was relayed.

    Whether a relayed row lands, only the table can tell, and with it what becomes of rows that are the same event, or
    have the same id: they are in a later piece. Raises PermanentError with the rows that no document can hold without
    changing them.
    """
    converters = [(at, _CONVERTERS[one.kind]) for at, one in enumerate(table.columns) if one.kind in _CONVERTERS]
    pieces: list[tuple[Piece, _Seen]] = []
    faults: list[RowFault] = []
    for rows in together:
        prefix = ingestion_id_prefix(rows.partition.topic, rows.incarnation, rows.partition.partition)
        for offset, row in zip(rows.offsets, rows.values, strict=True):
            id_ = row[_INGESTION_ID]
            relayed = id_ != f"{prefix}{offset}"
            piece, first = _place(table, pieces, (id_, relayed), (row[_SERVICE], row[_EVENT]))
            values = [len(piece), *row, *((first, relayed) if first or relayed else ())]
            try:
                for at, convert in converters:
                    values[at + 1] = convert(row[at])
                piece.documents.append(_encode(values))
            except (ValueError, OverflowError, TypeError) as error:
                faults.append(RowFault(rows.partition, offset, f"it cannot be sent to Snowflake: {error}"))
                continue
            piece.places.append(IngestionId(rows.partition.topic, rows.incarnation, rows.partition.partition, offset))
            if relayed:
                piece.relayed.append(IngestionId.parse(id_))
    if faults:
        raise PermanentError(f"{faults[0].error} ({len(faults)} such in the batch)", faults)
    return [piece for piece, _ in pieces]


def _place(
    table: BronzeTable, pieces: list[tuple[Piece, _Seen]], row: tuple[str, bool], event: tuple[str, str]
) -> tuple[Piece, str | None]:
    """The piece that the row is of; and the id of the row before it there that is the same."""
    id_, relayed = row
    for piece, seen in pieces:
        same = [one for one in (seen.by_id.get(id_), seen.by_event.get(event)) if one is not None]
        if not same:
            seen.by_id[id_] = seen.by_event[event] = row
            return piece, None
        if not relayed and not any(was_relayed for _, was_relayed in same):
            seen.by_id.setdefault(id_, row)
            return piece, same[0][0]
    pieces.append((Piece(table), _Seen({id_: row}, {event: row})))
    return pieces[-1][0], None


def array_of(documents: Sequence[bytes]) -> str:
    """One document of all of them."""
    return (b"[" + b",".join(documents) + b"]").decode()


def encoded(value: object) -> bytes:
    """Any other small document."""
    return _encode(value)


def _integer(value: int | None) -> int | None:
    if value is not None and value not in _INTEGERS:
        raise ValueError(f"{value} is beyond 64 bits")
    return value


def _real(value: float | None) -> float | str | None:
    """What JSON has no number for is sent as text, which the column takes."""
    return value if value is None or math.isfinite(value) else str(value)


def _decimal(value: Decimal | None) -> str | None:
    """In full: Snowflake would round it to what its column holds, and say nothing."""
    if value is None:
        return None
    # By its digits: arithmetic would round to the precision of the context.
    if value.is_finite() and (not value or -SCALE <= value.adjusted() < 38 - SCALE):
        text = f"{value:f}"
        if len(text.partition(".")[2].rstrip("0")) <= SCALE:
            return text
    raise ValueError(f"{value} has more than {38 - SCALE} digits before or {SCALE} after the point")


def _json(value: str | None) -> list[msgspec.Raw]:
    """An array, so that no value at all and the value null can be told apart."""
    return [] if value is None else [msgspec.Raw(value.encode())]


_CONVERTERS: Final[dict[Kind, Callable[[Any], Any]]] = {
    Kind.INTEGER: _integer,
    Kind.REAL: _real,
    Kind.DECIMAL: _decimal,
    Kind.JSON: _json,
}
