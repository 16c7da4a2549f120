"""Landing rows in Snowflake: rows, duplicates and positions in one transaction, in few statements."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final

from flowguard.adapters.snowflake.contracts import contracts_on, table_was_changed
from flowguard.adapters.snowflake.database import QUERY_TIMEOUT_S, TIMEOUT_S, Database
from flowguard.adapters.snowflake.documents import Piece, pieces_of
from flowguard.adapters.snowflake.feeding import is_large
from flowguard.adapters.snowflake.merging import land, remember
from flowguard.adapters.snowflake.positions import Place, advance, claim, count_others, move, stood, take_turn
from flowguard.adapters.snowflake.rights import require_rights
from flowguard.adapters.snowflake.tables import LANDED_AT, BronzeTable, table_without
from flowguard.domain.catalog import EventType, SchemaContract
from flowguard.domain.contracts import Fitted
from flowguard.domain.errors import ConfigurationError, PermanentError, UnknownOutcomeError
from flowguard.domain.ingestion import Assignment, Claim, IngestionId, TopicPartition
from flowguard.domain.rows import Merged, Move, Rows, SinkBatch, WriteReport
from flowguard.ports.sink import EventSink

EVENT_ID_DAYS: Final = 7.0
"""How long an event that its producer sends again is recognized."""
WRITERS: Final = 8
"""How many consumers may write into one schema."""

_log: Final = logging.getLogger("flowguard.snowflake")


class SnowflakeEventSink(EventSink):
    """Writes to one schema. `check` also looks at the tables of the event types that are given.

    Within one event type, a pair of producer service and event id has one row if it is sent again within
    `event_id_days`; an ingestion id has at most one row, for ever. Where more than `writers` consumers have claimed
    partitions, a claim says so, once: it refuses none, for they would have no reader. Times in seconds.
    """

    def __init__(
        self,
        url: str,
        event_types: Iterable[EventType] = (),
        *,
        timeout_s: float = TIMEOUT_S,
        query_timeout_s: float = QUERY_TIMEOUT_S,
        lock_timeout_s: float | None = None,
        writers: int = WRITERS,
        schema_contract: SchemaContract = SchemaContract.EVOLVE,
        event_id_days: float = EVENT_ID_DAYS,
    ) -> None:
        self._database = Database(
            url, timeout_s=timeout_s, query_timeout_s=query_timeout_s, lock_timeout_s=lock_timeout_s
        )
        self._contracts = contracts_on(self._database, schema_contract)
        self._event_types = tuple(event_types)
        self._days = event_id_days
        self._writers = writers
        self._told_of_writers = False
        self._may_write = False  # asked once: it wakes the warehouse, and a gateway checks its sink often
        self._unsure: tuple[tuple[Move, ...], WriteReport] | None = None  # committed or not, nobody knows
        self._ahead: dict[tuple[TopicPartition, int], int] = {}  # as the claims told it

    @property
    def statements(self) -> int:
        """How many were sent to Snowflake: each is a round trip."""
        return self._database.statements

    def claim(self, owner: str, assignments: Sequence[Assignment]) -> Sequence[Claim]:
        if not assignments:
            return ()
        event_types = {one.topic: one for one in self._event_types}
        with self._database.transaction() as session:
            claims = claim(session, owner, assignments, event_types)
            others = 0 if self._told_of_writers else count_others(session, owner)
        if others >= self._writers:
            self._told_of_writers = True
            _log.warning(
                "%s: %d other consumers have claimed partitions, and snowflake_writers (FLOWGUARD_SNOWFLAKE_WRITERS)"
                " allows %d: writers take turns, and when more than 20 wait, Snowflake refuses the next (000625); use"
                " fewer with larger batches",
                self._database.where,
                others,
                self._writers,
            )
        self._ahead |= {(one.partition, one.incarnation): ahead for one, ahead in claims}
        return [one for one, _ in claims]

    def write(self, batch: SinkBatch) -> WriteReport:
        try:
            return self._write(batch)
        except (ConfigurationError, PermanentError) as error:
            if not (table_was_changed(error) and self._contracts.forget()):
                raise
            return self._write(batch)

    def check(self) -> None:
        with self._database.transaction() as session:
            session.rows("SELECT 1 FROM FG_POSITIONS, FG_INCARNATIONS, FG_ABSORBED LIMIT 0")
        tables = [table_without(one, self._contracts.lacks(one)) for one in self._event_types]
        for table in tables:
            with self._database.transaction() as session:
                session.rows(f"SELECT {table.names}, {LANDED_AT} FROM {table.name} LIMIT 0")
        if not self._may_write:
            require_rights(self._database, tables)
            self._may_write = True

    def close(self) -> None:
        self._database.close()

    def _write(self, batch: SinkBatch) -> WriteReport:
        fitted = self._contracts.fit(batch)
        try:
            pieces = _pieces(fitted)
        except PermanentError:
            with self._database.transaction() as session:
                take_turn(session)
                stood(session, fitted.batch.moves)  # who was fenced has no say about rows
            raise
        report = self._land(fitted, pieces)
        self._contracts.landed()
        self._unsure = None
        return report

    def _land(self, fitted: Fitted, pieces: Sequence[Piece]) -> WriteReport:
        moves, merged = fitted.batch.moves, dict[str, Merged]()
        report = WriteReport(merged, fitted.told)
        before: WriteReport | None = None
        ahead = _ahead(fitted.batch, pieces)
        try:
            with self._database.transaction(staged=any(is_large(piece.documents) for piece in pieces)) as session:
                new = not ahead and self._may_stand(moves) and move(session, moves)
                if not new:
                    if self._unsure is not None:
                        take_turn(session)
                        before = self._written_before(moves, stood(session, moves))
                        if before is not None:
                            return before
                    if moves:
                        advance(session, moves)
                    if ahead or not moves:
                        take_turn(session, ahead)
                for piece in pieces:
                    inserted = land(session, piece, self._days, new=new)
                    name = piece.table.event_type.name
                    so_far = merged.get(name, Merged(0, 0))
                    merged[name] = Merged(so_far.inserted + inserted, so_far.duplicates + len(piece) - inserted)
                remember(session, fitted.batch.filtered)
        except UnknownOutcomeError:
            self._unsure = moves, before or report
            raise
        return report

    def _may_stand(self, moves: tuple[Move, ...]) -> bool:
        """Whether the positions may be where they are expected, with nothing ahead of them."""
        ahead = (self._ahead.get((one.claim.partition, one.claim.incarnation), 0) for one in moves)
        return (
            bool(moves)
            and self._unsure is None
            and all(until <= (one.expected or 0) for one, until in zip(moves, ahead, strict=True))
        )

    def _written_before(self, moves: tuple[Move, ...], stand: Sequence[int | None]) -> WriteReport | None:
        """What the write reported whose reply was lost, if these moves are its own, and have been made.

        Nobody else makes them: that takes our epochs.
        """
        if self._unsure is None or self._unsure[0] != moves:
            return None
        made = all(one.next_offset == at != one.expected for one, at in zip(moves, stand, strict=True))
        return self._unsure[1] if moves and made else None


def _pieces(fitted: Fitted) -> list[Piece]:
    together: dict[BronzeTable, list[Rows]] = {}
    for rows in fitted.batch.rows:
        together.setdefault(table_without(rows.event_type, fitted.lacks(rows.event_type)), []).append(rows)
    return [piece for table, rows in together.items() for piece in pieces_of(table, rows)]


def _ahead(batch: SinkBatch, pieces: Iterable[Piece]) -> dict[Place, int]:
    """Up to before which offsets rows may land without a move: of a replay, and where relayed rows first stood."""
    moved = {(one.claim.partition, one.claim.incarnation) for one in batch.moves}
    places = [
        IngestionId(rows.partition.topic, rows.incarnation, rows.partition.partition, rows.offsets[-1])
        for rows in batch.rows
        if rows.offsets and (rows.partition, rows.incarnation) not in moved
    ]
    ends: dict[Place, int] = {}
    for place in (*places, *(one for piece in pieces for one in piece.relayed)):
        ends[place[:3]] = max(ends.get(place[:3], 0), place.offset + 1)
    return ends
