"""Rows into a bronze table: in bulk where all of them are new, past those that exist where they may not be."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import errors

from flowguard.adapters.postgres.errors import translated
from flowguard.adapters.postgres.tables import BronzeTable, literal
from flowguard.domain.errors import PermanentError, RowFault
from flowguard.domain.ingestion import TopicPartition
from flowguard.domain.rows import Filtered, Merged, Rows

if TYPE_CHECKING:
    from psycopg import Connection

_AT_ONCE: Final = 1_000
"""Rows that are sent at once: after each of these, the server is seen to take what it is sent."""
_UNSENDABLE: Final = (OverflowError, ValueError, TypeError, AttributeError, struct.error)
"""What the driver raises for a value that has no form in its column: an integer past 64 bits, half a character."""
_LINE: Final = re.compile(r"^COPY [^\n]*?, line (\d+)", re.MULTILINE)
_SOURCE: Final = ("source_topic", "source_incarnation", "source_partition", "source_offset")


class AlreadyThereError(Exception):
    """A row that was taken for new has the ingestion id, or the event id, of one that is there."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one table, in the order in which they are written."""

    table: BronzeTable
    rows: Sequence[Rows]

    def __len__(self) -> int:
        return sum(len(some.offsets) for some in self.rows)

    def place_of(self, index: int) -> tuple[TopicPartition, int]:
        """Where the record of a row stands in the log."""
        for some in self.rows:
            if index < len(some.offsets):
                return some.partition, some.offsets[index]
            index -= len(some.offsets)
        raise IndexError(index)


def load(connection: Connection[Any], piece: Piece, into: str, progress: Callable[[], None]) -> None:
    """COPY the rows into a table with these columns.

    Raises PermanentError with the row, where the driver or the server names one, and AlreadyThereError.
    """
    done = 0
    try:
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY {into} ({piece.table.names}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            # Binary, with the types said beforehand, costs the client an eighth of text, and the server less.
            copy.set_types(piece.table.types)
            write = copy.write_row
            for some in piece.rows:
                for start in range(0, len(some.values), _AT_ONCE):
                    for row in some.values[start : start + _AT_ONCE]:
                        write(row)
                        done += 1
                    progress()
    except errors.UniqueViolation as error:
        raise AlreadyThereError from error
    except psycopg.Error as error:
        if not isinstance(translated(error, piece.table.name), PermanentError):
            raise
        raise _named(error, piece, done) from error
    except _UNSENDABLE as error:
        told = f"it cannot be sent to PostgreSQL: {error}"
        raise PermanentError(told, [RowFault(*piece.place_of(done), told)]) from error


def require_types(connection: Connection[Any], table: BronzeTable) -> None:
    """Keep the table as it is until the transaction ends, and raise ConfigurationError where a column is not as ours.

    Binary COPY does not look: a number would land as another one where somebody has changed the type of its column.
    """
    found = connection.execute(
        f"LOCK TABLE {table.name} IN ROW EXCLUSIVE MODE;"
        " SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
        f" WHERE attrelid = {literal(table.name)}::regclass AND attnum > 0 AND NOT attisdropped"
    )
    found.nextset()
    table.require_types(dict(found.fetchall()))


def merge(connection: Connection[Any], piece: Piece, progress: Callable[[], None]) -> Merged:
    """Insert the rows that do not exist, the first of each first, and remember the others as duplicates."""
    table = piece.table
    stage = table.stage  # it stays as long as the connection does
    connection.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} ({table.stage_columns}) ON COMMIT DELETE ROWS")
    load(connection, piece, stage, progress)
    inserted = connection.execute(
        f"INSERT INTO {table.name} ({table.names}) SELECT {table.names} FROM {stage} ORDER BY ctid"
        " ON CONFLICT DO NOTHING"
    ).rowcount
    progress()
    if inserted < len(piece):
        _absorb(connection, table, stage)
    return Merged(inserted, len(piece) - inserted)


def remember_filtered(connection: Connection[Any], filtered: Filtered) -> None:
    """Note the offsets that the event type's own rule left out."""
    connection.execute(
        'INSERT INTO fg_absorbed (event_type, topic, partition, incarnation, "offset", kind)'
        " SELECT %s, %s, %s, %s, at, 'filtered' FROM unnest(%s::bigint[]) AS at ON CONFLICT DO NOTHING",
        [filtered.event_type.name, *filtered.partition, filtered.incarnation, filtered.offsets],
    )


def _named(error: psycopg.Error, piece: Piece, done: int) -> PermanentError:
    """With the row that the server named as the cause, if it did: COPY tells the line.

    The driver itself says no to the row that it is given, after `done` others.
    """
    if error.sqlstate is None:
        return PermanentError(str(error), [RowFault(*piece.place_of(done), str(error))])
    told = f"{error.diag.message_primary or error} ({error.sqlstate})"
    found = _LINE.search(error.diag.context or "")
    if found is None or int(found[1]) > len(piece):
        return PermanentError(told)
    return PermanentError(told, [RowFault(*piece.place_of(int(found[1]) - 1), told)])


def _absorb(connection: Connection[Any], table: BronzeTable, stage: str) -> None:
    """Remember what did not land because another row has its ingestion id, or its event id.

    A row whose own position is in the table was only read again: it is no duplicate. What met with another constraint,
    one that somebody has added, is no duplicate either: raises PermanentError that names it.
    """
    places = ", ".join(f"s.{name}" for name in _SOURCE)
    same = " AND ".join(f"i.{name} = s.{name}" for name in _SOURCE)
    absorbed = connection.execute(
        f"""
        INSERT INTO fg_absorbed (event_type, topic, incarnation, partition, "offset", kind, first_ingestion_id)
        SELECT %s, {places}, 'duplicate', coalesce(i.ingestion_id, e.ingestion_id) FROM {stage} AS s
        LEFT JOIN {table.name} AS i ON i.ingestion_id = s.ingestion_id
        LEFT JOIN {table.name} AS e ON e.producer_service = s.producer_service AND e.event_id = s.event_id
        WHERE ({same}) IS NOT TRUE
        ON CONFLICT DO NOTHING RETURNING topic, partition, "offset", first_ingestion_id
        """,
        [table.event_type.name],
    ).fetchall()
    why = f"another unique constraint of table {table.event_type.table} has its values already"
    if strange := [
        RowFault(TopicPartition(topic, partition), offset, why)
        for topic, partition, offset, first in absorbed
        if first is None
    ]:
        raise PermanentError(why, strange)
