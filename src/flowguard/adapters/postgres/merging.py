"""Rows into a bronze table: in bulk where all of them are new, past those that exist where they may not be."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from psycopg import errors

from flowguard.adapters.postgres.tables import BronzeTable
from flowguard.domain.errors import PermanentError, RowFault
from flowguard.domain.ingestion import TopicPartition
from flowguard.domain.rows import Filtered, Merged, Rows

if TYPE_CHECKING:
    import psycopg
    from psycopg import Connection

_AT_ONCE: Final = 256 * 1024
"""Bytes that are sent at once: between two of them, the server is seen to take what it is sent."""
_LINE: Final = re.compile(r"^COPY [^\n]*?, line (\d+)", re.MULTILINE)
_SOURCE: Final = ("source_topic", "source_incarnation", "source_partition", "source_offset")


class AlreadyThereError(Exception):
    """A row that was taken for new has the ingestion id, or the event id, of one that is there."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one table, as COPY takes them: `blocks[i]` has a line for each of `rows[i]`, in order."""

    table: BronzeTable
    rows: Sequence[Rows]
    blocks: Sequence[bytes]

    @property
    def place(self) -> tuple[TopicPartition, int]:
        """Partition and incarnation of its first rows."""
        return self.rows[0].partition, self.rows[0].incarnation

    def __len__(self) -> int:
        return sum(len(some.offsets) for some in self.rows)

    def place_of(self, line: int) -> tuple[TopicPartition, int] | None:
        """Where the record of a line, counted from 1, stands in the log."""
        for some in self.rows:
            if line <= len(some.offsets):
                return some.partition, some.offsets[line - 1]
            line -= len(some.offsets)
        return None


def load(connection: Connection[Any], piece: Piece, into: str, progress: Callable[[], None]) -> None:
    """COPY the lines into a table of these columns.

    Raises PermanentError with the row, where the server names one, and AlreadyThereError.
    """
    try:
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY {into} ({piece.table.names}) FROM STDIN") as copy,
        ):
            for block in piece.blocks:
                for start in range(0, len(block), _AT_ONCE):
                    copy.write(block[start : start + _AT_ONCE])
                    progress()
    except errors.UniqueViolation as error:
        raise AlreadyThereError from error
    except (errors.DataError, errors.IntegrityError) as error:
        raise _named(error, piece) from error


def merge(connection: Connection[Any], piece: Piece, progress: Callable[[], None]) -> Merged:
    """Insert the rows that do not exist, the first of each first, and remember the others as duplicates."""
    table = piece.table
    # One for each shape of each table, for as long as the connection lives.
    stage = f"fg_stage_{crc32(f'{table.name}({table.names})'.encode()):08x}"
    connection.execute(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} (LIKE {table.name} INCLUDING CONSTRAINTS) ON COMMIT DELETE ROWS"
    )
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


def _named(error: psycopg.Error, piece: Piece) -> PermanentError:
    """With the row that the server named as the cause, if it did: COPY tells the line."""
    told = f"{error.diag.message_primary or error} ({error.sqlstate})"
    found = _LINE.search(error.diag.context or "")
    place = piece.place_of(int(found[1])) if found else None
    return PermanentError(told, [] if place is None else [RowFault(*place, told)])


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
