"""Inserting many rows in few, large statements, and remembering those that existed.

The driver gives up the interpreter's lock at every step of a statement. Beside a busy thread each time costs up to
5 ms, so a statement a row is out of the question, and so is reading back a row at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import TypeVar

from flowguard.adapters.sqlite.database import Value
from flowguard.adapters.sqlite.tables import BronzeTable, stored_position
from flowguard.domain.rows import Filtered, Merged, Row

_T = TypeVar("_T")

_MOST_VALUES = 32_766  # bound values of one statement, as sqlite is built by default
_LARGEST = 512  # rows of one statement; larger ones gain nothing any more
_SIZES = (_LARGEST, 64, 8, 1)
"""Few sizes, so that their statements stay compiled."""


def chunks(rows: Sequence[_T], width: int) -> Iterator[Sequence[_T]]:
    """The rows in pieces of few different sizes, none with more values than a statement may have."""
    sizes = [size for size in _SIZES if size * width <= _MOST_VALUES]
    start = 0
    for size in sizes:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


def merge(connection: sqlite3.Connection, table: BronzeTable, rows: Sequence[Row]) -> Merged:
    """Insert the rows (as `table.stored` gives them) that do not exist, and remember the others as duplicates."""
    inserted = 0
    for piece in chunks(rows, len(table.columns)):
        done = connection.execute(_insert(table, len(piece)), list(chain.from_iterable(piece))).rowcount
        inserted += done
        if done < len(piece):
            _absorb(connection, table, piece)
    return Merged(inserted, len(rows) - inserted)


def remember_filtered(connection: sqlite3.Connection, filtered: Filtered) -> None:
    """Note the offsets that the event type's own rule left out."""
    place: tuple[Value, ...] = (filtered.event_type.name, *filtered.partition, filtered.incarnation)
    for offsets in chunks(filtered.offsets, 1):
        values = ", ".join(["(?)"] * len(offsets))
        connection.execute(
            'INSERT INTO fg_absorbed (event_type, topic, partition, incarnation, "offset", kind)'
            f" SELECT ?, ?, ?, ?, column1, 'filtered' FROM (VALUES {values}) WHERE true ON CONFLICT DO NOTHING",
            (*place, *offsets),
        )


def _absorb(connection: sqlite3.Connection, table: BronzeTable, rows: Sequence[Row]) -> None:
    """Note those of the rows that did not land because another row has their ingestion id, or their event id.

    A row whose own position is in the table was only read again: it is no duplicate.
    """
    positions = map(stored_position, rows)
    connection.execute(_absorb_sql(table, len(rows)), [table.event_type.name, *chain.from_iterable(positions)])


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
