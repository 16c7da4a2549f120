"""Rows as JSON documents: one array a row, whose first value is the row's number in its batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec

from flowguard.adapters.snowflake.tables import SCALE, BronzeTable
from flowguard.domain.columns import METADATA, Kind
from flowguard.domain.errors import PermanentError, RowFault
from flowguard.domain.ingestion import IngestionId
from flowguard.domain.rows import Rows

_encode: Final = msgspec.json.Encoder(decimal_format="string").encode
_INTEGERS: Final = range(-(2**63), 2**63)
_AT: Final = {column.name: at for at, column in enumerate(METADATA)}
_INGESTION_ID, _SERVICE, _EVENT = _AT["ingestion_id"], _AT["producer_service"], _AT["event_id"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one table, in the order in which they are written, each as its document.

    `places`: where each stood in the log. `keys`: its (producer service, event id). `ids`: its ingestion id.
    """

    table: BronzeTable
    documents: list[bytes]
    places: list[IngestionId]
    ids: list[str]
    keys: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.documents)

    @property
    def unique(self) -> bool:
        """Whether no two of its rows are one event, or one record of the log."""
        return len(set(self.ids)) == len(set(self.keys)) == len(self)

    @property
    def own(self) -> bool:
        """Whether each has the ingestion id of where it stood: none was relayed."""
        return all(id_ == str(place) for id_, place in zip(self.ids, self.places, strict=True))

    def only(self, numbers: Iterable[int]) -> list[bytes]:
        """The documents of these rows."""
        return [self.documents[number] for number in numbers]


def piece_of(table: BronzeTable, together: Sequence[Rows]) -> Piece:
    """The rows of one table. Raises PermanentError with the rows that no document can hold without changing them."""
    converters = [(at, _CONVERTERS[one.kind]) for at, one in enumerate(table.columns) if one.kind in _CONVERTERS]
    piece = Piece(table, [], [], [], [])
    faults: list[RowFault] = []
    for rows in together:
        for offset, row in zip(rows.offsets, rows.values, strict=True):
            values = [len(piece.documents), *row]
            try:
                for at, convert in converters:
                    values[at + 1] = convert(row[at])
                piece.documents.append(_encode(values))
            except (ValueError, OverflowError, TypeError) as error:
                faults.append(RowFault(rows.partition, offset, f"it cannot be sent to Snowflake: {error}"))
                continue
            piece.places.append(IngestionId(rows.partition.topic, rows.incarnation, rows.partition.partition, offset))
            piece.ids.append(row[_INGESTION_ID])
            piece.keys.append((row[_SERVICE], row[_EVENT]))
    if faults:
        raise PermanentError(f"{faults[0].error} ({len(faults)} such in the batch)", faults)
    return piece


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
