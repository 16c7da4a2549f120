"""Landing rows in the embedded warehouse: rows, duplicates and positions in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from flowguard.adapters.sqlite.contracts import column_was_missing, contracts_on
from flowguard.adapters.sqlite.database import BUSY_TIMEOUT_S, Database
from flowguard.adapters.sqlite.merging import merge, remember_filtered
from flowguard.adapters.sqlite.tables import BronzeTable, faults, table_without
from flowguard.domain.catalog import EventType, SchemaContract
from flowguard.domain.errors import ConfigurationError, FencedError, PermanentError
from flowguard.domain.ingestion import Assignment, Claim
from flowguard.domain.rows import Merged, Move, Rows, SinkBatch, WriteReport
from flowguard.ports.sink import EventSink

_REFUSED = (OverflowError, ValueError)
"""What the driver, or the conversion to what it stores, raises for a value that cannot be stored."""

_POSITION = "SELECT epoch, next_offset FROM fg_positions WHERE topic = ? AND partition = ? AND incarnation = ?"


class SqliteEventSink(EventSink):
    """Writes to the warehouse in one file. `check` also looks at the tables of the event types that are given."""

    def __init__(
        self,
        path: Path,
        event_types: Iterable[EventType] = (),
        *,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        schema_contract: SchemaContract = SchemaContract.EVOLVE,
    ) -> None:
        self._database = Database(path, busy_timeout_s=busy_timeout_s)
        self._contracts = contracts_on(self._database, schema_contract)
        self._event_types = tuple(event_types)

    def claim(self, owner: str, assignments: Sequence[Assignment]) -> Sequence[Claim]:
        with self._database.transaction() as connection:
            return [_claim(connection, owner, one) for one in assignments]

    def write(self, batch: SinkBatch) -> WriteReport:
        try:
            return self._write(batch)
        except ConfigurationError as error:
            if not (column_was_missing(error) and self._contracts.forget()):
                raise
            return self._write(batch)  # the table has changed since it was looked at

    def _write(self, batch: SinkBatch) -> WriteReport:
        fitted = self._contracts.fit(batch)
        batch = fitted.batch
        together: dict[BronzeTable, list[Rows]] = {}
        for rows in batch.rows:
            together.setdefault(table_without(rows.event_type, fitted.lacks(rows.event_type)), []).append(rows)
        merged: dict[str, Merged] = {}
        try:
            # Converted before the transaction: nobody waits for the lock meanwhile.
            stored = {
                table: table.stored(chain.from_iterable(rows.values for rows in some))
                for table, some in together.items()
            }
            with self._database.transaction() as connection:
                _fence(connection, batch.moves)
                for table, values in stored.items():
                    merged[table.event_type.name] = merge(connection, table, values)
                for filtered in batch.filtered:
                    remember_filtered(connection, filtered)
                for move in batch.moves:
                    _move(connection, move)
        except (*_REFUSED, PermanentError) as error:
            raise _refusal(error, together) from error
        self._contracts.landed()
        return WriteReport(merged, fitted.told)

    def check(self) -> None:
        lacking = {event_type: self._contracts.lacks(event_type) for event_type in self._event_types}
        with self._database.transaction() as connection:
            connection.execute("SELECT 1 FROM fg_positions, fg_incarnations, fg_absorbed LIMIT 0")
            for event_type in self._event_types:
                connection.execute(table_without(event_type, lacking[event_type]).insert_nothing)

    def close(self) -> None:
        self._database.close()


def _claim(connection: sqlite3.Connection, owner: str, assignment: Assignment) -> Claim:
    (topic, partition), topic_id = assignment
    seen = connection.execute(
        "SELECT incarnation FROM fg_incarnations WHERE topic = ? AND topic_id = ?", (topic, topic_id)
    ).fetchone()
    if seen is None:
        seen = connection.execute(
            "SELECT coalesce(max(incarnation), 0) + 1 FROM fg_incarnations WHERE topic = ?", (topic,)
        ).fetchone()
        connection.execute("INSERT INTO fg_incarnations VALUES (?, ?, ?)", (topic, *seen, topic_id))
    (incarnation,) = seen
    connection.execute(
        "INSERT INTO fg_positions (topic, incarnation, partition, epoch, owner) VALUES (?, ?, ?, 1, ?)"
        " ON CONFLICT DO UPDATE SET epoch = epoch + 1, owner = excluded.owner",
        (topic, incarnation, partition, owner),
    )
    epoch, next_offset = connection.execute(_POSITION, (topic, partition, incarnation)).fetchone()
    return Claim(assignment.partition, incarnation, epoch, next_offset)


def _fence(connection: sqlite3.Connection, moves: Iterable[Move]) -> None:
    """Raise FencedError where another owner claimed since, or where the sink stands behind what this one left."""
    fenced = []
    for move in moves:
        place = (*move.claim.partition, move.claim.incarnation)
        epoch, stored = connection.execute(_POSITION, place).fetchone() or (0, None)
        if (
            epoch == 0
            or epoch != move.claim.epoch
            or (move.expected is not None and (stored is None or stored < move.expected))
        ):
            fenced.append(move.claim.partition)
    if fenced:
        raise FencedError(fenced)


def _move(connection: sqlite3.Connection, move: Move) -> None:
    connection.execute(
        "UPDATE fg_positions SET next_offset = max(coalesce(next_offset, 0), ?)"
        " WHERE topic = ? AND partition = ? AND incarnation = ?",
        (move.next_offset, *move.claim.partition, move.claim.incarnation),
    )


def _refusal(error: Exception, together: dict[BronzeTable, list[Rows]]) -> PermanentError:
    """What a value that cannot be stored costs: its own row, where it can be found."""
    named = [fault for table, some in together.items() for rows in some for fault in faults(table, rows)]
    if named:
        return PermanentError(f"{named[0].error} ({len(named)} such in the batch)", named)
    return PermanentError(str(error) or type(error).__name__)
