"""Landing rows in PostgreSQL: rows, duplicates and positions in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from flowguard.adapters.postgres.contracts import contracts_on, require_evolvable, table_was_changed
from flowguard.adapters.postgres.database import TIMEOUT_S, Database
from flowguard.adapters.postgres.merging import AlreadyThereError, Piece, load, merge, remember_filtered, require_types
from flowguard.adapters.postgres.positions import claim, move, require_known_log
from flowguard.adapters.postgres.rights import require_rights
from flowguard.adapters.postgres.tables import BronzeTable, table_without
from flowguard.domain.catalog import EventType, SchemaContract
from flowguard.domain.contracts import Fitted
from flowguard.domain.errors import ConfigurationError, PermanentError, UnknownOutcomeError
from flowguard.domain.ingestion import Assignment, Claim
from flowguard.domain.rows import Merged, Move, Rows, SinkBatch, WriteReport
from flowguard.ports.sink import EventSink

_MOST_CAUTION: Final = 64


class PostgresEventSink(EventSink):
    """Writes to one database. `check` also looks at the tables of the event types that are given.

    What is at the sink's position is new, and goes straight into its table by COPY. Where a row turns out to be there
    all the same (an event that the log has twice), its batch goes by a staging table, and so do some batches after it:
    the more, the oftener that happens.
    """

    def __init__(
        self,
        url: str,
        event_types: Iterable[EventType] = (),
        *,
        timeout_s: float = TIMEOUT_S,
        schema_contract: SchemaContract = SchemaContract.EVOLVE,
    ) -> None:
        self._database = Database(url, timeout_s=timeout_s)
        self._contracts = contracts_on(self._database, schema_contract)
        self._event_types = tuple(event_types)
        self._unsure: tuple[tuple[Move, ...], WriteReport] | None = None  # committed or not, nobody knows
        self._caution = 1
        self._cautious = 0  # so many batches more go by the staging table

    def claim(self, owner: str, assignments: Sequence[Assignment]) -> Sequence[Claim]:
        if not assignments:
            return ()
        with self._database.evicting(), self._database.transaction() as connection:
            require_known_log(connection, self._event_types, assignments)
            return claim(connection, owner, assignments)

    def write(self, batch: SinkBatch) -> WriteReport:
        try:
            return self._write(batch)
        except (ConfigurationError, PermanentError) as error:
            if not (table_was_changed(error) and self._contracts.forget()):
                raise
            return self._write(batch)

    def check(self) -> None:
        with self._database.transaction() as connection:
            connection.execute("SELECT 1 FROM fg_positions, fg_incarnations, fg_absorbed LIMIT 0")
            require_rights(connection, self._database.where)
        for event_type in self._event_types:
            lacking = self._contracts.lacks(event_type)
            if lacking and self._contracts.contract_of(event_type) is SchemaContract.EVOLVE:
                require_evolvable(self._database, event_type, lacking)
            table = table_without(event_type, lacking)
            with self._database.transaction() as connection:
                connection.execute(f"SELECT {table.names} FROM {table.name} LIMIT 0")
                require_rights(connection, self._database.where, table.name)

    def close(self) -> None:
        self._database.close()

    def _write(self, batch: SinkBatch) -> WriteReport:
        fitted = self._contracts.fit(batch)
        with self._database.evicting():
            try:
                report = self._land(fitted, direct=not self._cautious)
            except AlreadyThereError:
                report = self._land(fitted, direct=False)
        self._contracts.landed()
        return report

    def _land(self, fitted: Fitted, *, direct: bool) -> WriteReport:
        """One transaction. Raises AlreadyThereError where it goes `direct`, and something is there already."""
        batch = fitted.batch
        merged: dict[str, Merged] = {}
        before: WriteReport | None = None
        try:
            with self._database.transaction() as connection:
                stood = move(connection, batch.moves)
                before = self._written_before(batch.moves, stood)
                if before is not None:
                    return before
                new = {
                    (one.claim.partition, one.claim.incarnation)
                    for one, at in zip(batch.moves, stood, strict=True)
                    if direct and at == one.expected
                }
                for piece in _pieces(fitted, lambda rows: (rows.partition, rows.incarnation) in new):
                    require_types(connection, piece.table)
                    load(connection, piece, piece.table.name, self._database.progress)
                    _add(merged, piece, Merged(len(piece), 0))
                for piece in _pieces(fitted, lambda rows: (rows.partition, rows.incarnation) not in new):
                    _add(merged, piece, merge(connection, piece, self._database.progress))
                for filtered in batch.filtered:
                    remember_filtered(connection, filtered)
        except UnknownOutcomeError:
            self._unsure = batch.moves, before or WriteReport(merged, fitted.told)
            raise
        self._unsure = None
        if not direct:
            self._learn(surprised=any(one.duplicates for one in merged.values()))
        return WriteReport(merged, fitted.told)

    def _written_before(self, moves: tuple[Move, ...], stood: Sequence[int | None]) -> WriteReport | None:
        """What the write reported whose reply was lost, if these moves are its own, and have been made.

        Nobody else makes them: that takes our epochs.
        """
        if self._unsure is None or self._unsure[0] != moves:
            return None
        made = all(one.next_offset == at != one.expected for one, at in zip(moves, stood, strict=True))
        return self._unsure[1] if moves and made else None

    def _learn(self, *, surprised: bool) -> None:
        if surprised:
            self._caution = min(2 * self._caution, _MOST_CAUTION)
            self._cautious = self._caution
        elif self._cautious:
            self._cautious -= 1
            if not self._cautious:
                self._caution = max(1, self._caution // 2)


def _pieces(fitted: Fitted, wanted: Callable[[Rows], bool]) -> list[Piece]:
    """One piece a table."""
    together: dict[BronzeTable, list[Rows]] = {}
    for rows in filter(wanted, fitted.batch.rows):
        together.setdefault(table_without(rows.event_type, fitted.lacks(rows.event_type)), []).append(rows)
    return [Piece(table, rows) for table, rows in together.items()]


def _add(merged: dict[str, Merged], piece: Piece, more: Merged) -> None:
    name = piece.table.event_type.name
    before = merged.get(name, Merged(0, 0))
    merged[name] = Merged(before.inserted + more.inserted, before.duplicates + more.duplicates)
