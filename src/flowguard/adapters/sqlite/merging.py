"""Inserting many rows in few, large statements, and remembering those that existed.

The driver gives up the interpreter's lock at every step of a statement. Beside a busy thread each time costs up to
5 ms, so a statement a row is out of the question, and so is reading back a row at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

from flowguard.adapters.sqlite.database import Value
from flowguard.adapters.sqlite.tables import BronzeTable
from flowguard.domain.columns import METADATA
from flowguard.domain.rows import Filtered, Merged

_T = TypeVar("_T")

_MOST_VALUES = 32_766
"""Bound values of one statement, as sqlite is built by default."""


_PLACE = tuple(
    [column.name for column in METADATA].index(name)
    for name in (
        "source_topic",
        "source_incarnation",
        "source_partition",
        "source_offset",
        "ingestion_id",
        "producer_service",
        "event_id",
    )
)
"""Where the values of a row stand that tell where it came from, and what makes it unique."""


@lru_cache
def _sizes(width: int) -> tuple[int, ...]:
    """The most rows that a statement takes, then powers of two: few sizes, so that statements stay compiled."""
    most = (_MOST_VALUES - 4) // width  # some statements bind a few values more
    return (most, *(1 << power for power in reversed(range(most.bit_length())) if 1 << power < most))


def chunks(values: Sequence[_T], width: int) -> Iterator[tuple[int, Sequence[_T]]]:
    """(rows, their values): rows of so many values each, one after the other, in pieces that one statement takes."""
    start = 0
    for rows in _sizes(width):
        while len(values) - start >= rows * width:
            yield rows, values[start : start + rows * width]
            start += rows * width


def merge(connection: sqlite3.Connection, table: BronzeTable, values: Sequence[Value]) -> Merged:
    """Insert the rows (as `table.stored` gives them) that do not exist, and remember the others as duplicates."""
    inserted = 0
    for rows, piece in chunks(values, len(table.columns)):
        done = connection.execute(_insert(table, rows), piece).rowcount
        inserted += done
        if done < rows:
            _absorb(connection, table, rows, piece)
    return Merged(inserted, len(values) // len(table.columns) - inserted)


def remember_filtered(connection: sqlite3.Connection, filtered: Filtered) -> None:
    """Note the offsets that the event type's own rule left out."""
    place: tuple[Value, ...] = (filtered.event_type.name, *filtered.partition, filtered.incarnation)
    for rows, offsets in chunks(filtered.offsets, 1):
        values = ", ".join(["(?)"] * rows)
        connection.execute(
            'INSERT INTO fg_absorbed (event_type, topic, partition, incarnation, "offset", kind)'
            f" SELECT ?, ?, ?, ?, column1, 'filtered' FROM (VALUES {values}) WHERE true ON CONFLICT DO NOTHING",
            (*place, *offsets),
        )


def _absorb(connection: sqlite3.Connection, table: BronzeTable, rows: int, values: Sequence[Value]) -> None:
    """Note those of the rows that did not land because another row has their ingestion id, or their event id.

    A row whose own position is in the table was only read again: it is no duplicate.
    """
    width = len(table.columns)
    places: list[Value] = [None] * (rows * len(_PLACE))
    for at, index in enumerate(_PLACE):
        places[at :: len(_PLACE)] = values[index::width]
    connection.execute(_absorb_sql(table, rows), [table.event_type.name, *places])


@lru_cache(maxsize=256)
def _insert(table: BronzeTable, rows: int) -> str:
    return table.insert(rows)


@lru_cache(maxsize=256)
def _absorb_sql(table: BronzeTable, rows: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * rows)
    return f"""
    INSERT INTO fg_absorbed (event_type, topic, incarnation, partition, "offset", kind, first_ingestion_id)
    SELECT ?, g.column1, g.column2, g.column3, g.column4, 'duplicate', coalesce(i.ingestion_id, e.ingestion_id)
    FROM (VALUES {values}) AS g
    LEFT JOIN {table.name} AS i ON i.ingestion_id = g.column5
    LEFT JOIN {table.name} AS e ON e.producer_service = g.column6 AND e.event_id = g.column7
    WHERE (i.source_topic, i.source_incarnation, i.source_partition, i.source_offset)
      IS NOT (g.column1, g.column2, g.column3, g.column4)
    ON CONFLICT DO NOTHING
    """
