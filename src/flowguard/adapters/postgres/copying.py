"""Rows as PostgreSQL's COPY takes them, in its text format: column by column, with few steps a row.

The format: https://www.postgresql.org/docs/current/sql-copy.html, "Text Format".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from flowguard.domain.columns import Column, Kind

_NULL: Final = "\\N"
_SPECIAL: Final = re.compile(r"[\\\t\n\r]")
_ESCAPES: Final = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def block_of(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> bytes:
    """The rows, one line each. Raises ValueError or OverflowError for what is no text."""
    fields = [_TEXTS[column.kind](values) for column, values in zip(columns, zip(*rows, strict=True), strict=True)]
    lines = "\n".join(map("\t".join, zip(*fields, strict=True)))
    return f"{lines}\n".encode()


def fault(column: Column, value: object) -> str | None:
    """Why the value cannot be sent, where that is so."""
    if value is None:
        return "must not be null" if column.required else None
    try:
        (text,) = _TEXTS[column.kind]((value,))
        text.encode()
    except UnicodeEncodeError as error:
        return f"is no valid text ({error.reason} at character {error.start})"
    except (ValueError, OverflowError, TypeError, AttributeError) as error:
        return str(error)
    return "contains the NUL character, which no text of PostgreSQL can" if "\0" in text else None


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], text)


def _texts(values: Sequence[str | None]) -> Sequence[str]:
    if None in values:
        return [_NULL if value is None else _escaped(value) for value in values]
    # Most often nothing is to be escaped in a whole column: that is seen at once.
    return [*map(_escaped, values)] if _SPECIAL.search("\0".join(values)) else values  # type: ignore[arg-type,return-value]


def _plainly(text_of: Callable[[Any], str]) -> Callable[[Sequence[Any]], Sequence[str]]:
    """For values whose text never holds anything special."""

    def texts(values: Sequence[Any]) -> Sequence[str]:
        if None in values:
            return [_NULL if value is None else text_of(value) for value in values]
        return [*map(text_of, values)]

    return texts


def _timestamps(values: Sequence[datetime | None]) -> Sequence[str]:
    first = values[0]
    if all(value is first for value in values):  # ingested_at is one object in a whole batch
        return [_NULL if first is None else first.isoformat()] * len(values)
    return [_NULL if value is None else value.isoformat() for value in values]


_TEXTS: Final[dict[Kind, Callable[[Sequence[Any]], Sequence[str]]]] = {
    Kind.TEXT: _texts,
    Kind.JSON: _texts,
    Kind.INTEGER: _plainly(int.__str__),
    Kind.REAL: _plainly(float.__repr__),
    Kind.DECIMAL: _plainly(Decimal.__str__),
    Kind.BOOLEAN: _plainly("{:d}".format),
    Kind.TIMESTAMP: _timestamps,
}
