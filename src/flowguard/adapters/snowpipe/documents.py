"""Rows as documents by column. What Snowflake would leave out of a table, or change, is refused here, row by row.

An append cannot be taken back, and Snowflake names no row that it leaves out: so all is looked at before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from flowguard.adapters.snowpipe.client import Document
from flowguard.domain.catalog import EventType
from flowguard.domain.columns import METADATA, Kind, columns_of
from flowguard.domain.errors import PermanentError, RowFault
from flowguard.domain.rows import Rows

REQUEST_BYTES: Final = 4_000_000
"""Snowflake's limit of one request: 4 MB."""
SCALE: Final = 12
"""Decimal places of a NUMBER(38, 12), as the tables of the Snowflake sink have it."""
LANDED_AT: Final = "LANDED_AT"
_INTEGERS: Final = range(-(2**63), 2**63)
_encode: Final = msgspec.json.Encoder().encode


class Prepared(NamedTuple):
    """A row that can be appended: where it stood in the log, how long it is as JSON, itself."""

    offset: int
    size: int
    document: Document


def prepared(together: Sequence[Rows], now: datetime) -> list[Prepared]:
    """Rows of one event type and partition, by offset. Raises PermanentError, which names every row at fault."""
    found: list[Prepared] = []
    faults: list[RowFault] = []
    for rows in together:
        names, converters = _columns(rows.event_type)
        for offset, row in zip(rows.offsets, rows.values, strict=True):
            values = list(row)
            try:
                for at, convert in converters:
                    if values[at] is not None:
                        values[at] = convert(values[at])
                document = {**dict(zip(names, values, strict=True)), LANDED_AT: now}
                size = len(_encode(document)) + 1
                if size > REQUEST_BYTES:
                    raise ValueError(f"it has {size} bytes, and a request at most {REQUEST_BYTES}")
            except (ValueError, OverflowError, TypeError) as error:
                faults.append(RowFault(rows.partition, offset, f"it cannot be sent to Snowflake: {error}"))
                continue
            found.append(Prepared(offset, size, document))
    if faults:
        raise PermanentError(f"{faults[0].error} ({len(faults)} such in the batch)", faults)
    return sorted(found, key=lambda one: one.offset)


def requests(rows: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
    """The rows in their order, in runs that fit a request."""
    start = size = 0
    for at, row in enumerate(rows):
        if size + row.size > REQUEST_BYTES:
            yield rows[start:at]
            start, size = at, 0
        size += row.size
    if rows:
        yield rows[start:]


@lru_cache(maxsize=1_000)
def _columns(event_type: EventType) -> tuple[list[str], list[tuple[int, Callable[[Any], Any]]]]:
    columns = (*METADATA, *columns_of(event_type.model))
    converters = [(at, _CONVERTERS[one.kind]) for at, one in enumerate(columns) if one.kind in _CONVERTERS]
    return [one.name.upper() for one in columns], converters


def _integer(value: int) -> int:
    if value not in _INTEGERS:
        raise ValueError(f"{value} is beyond 64 bits")
    return value


def _real(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"JSON has no number for {value}")
    return value


def _decimal(value: Decimal) -> Decimal:
    # By its digits: arithmetic would round to the precision of the context.
    fits = value.is_finite() and (not value or -SCALE <= value.adjusted() < 38 - SCALE)
    if fits and len(f"{value:f}".partition(".")[2].rstrip("0")) <= SCALE:
        return value
    raise ValueError(f"{value} has more than {38 - SCALE} digits before or {SCALE} after the point")


def _json(value: str) -> msgspec.Raw:
    """As it is but for its blanks: a row travels as one line."""
    return msgspec.Raw(msgspec.json.format(value, indent=-1).encode())


_CONVERTERS: Final[dict[Kind, Callable[[Any], Any]]] = {
    Kind.INTEGER: _integer,
    Kind.REAL: _real,
    Kind.DECIMAL: _decimal,
    Kind.JSON: _json,
}
