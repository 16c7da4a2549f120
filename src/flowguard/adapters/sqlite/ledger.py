"""What the embedded warehouse can tell of what landed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from flowguard.adapters.sqlite.database import BUSY_TIMEOUT_S, Database, Value
from flowguard.adapters.sqlite.islands import offsets_of
from flowguard.adapters.sqlite.tables import BronzeTable, quoted, table_of, timestamp_text
from flowguard.domain.catalog import EventType
from flowguard.domain.columns import METADATA, Kind
from flowguard.domain.errors import ConfigurationError
from flowguard.domain.ingestion import TopicPartition
from flowguard.ports.ledger import LandedOffsets, Ledger, SinkPosition, TableSummary

_INCOMPLETE = " OR ".join(f"{quoted(column.name)} IS NULL" for column in METADATA if column.required)


class SqliteLedger(Ledger):
    """Reads the warehouse in one file, beside whoever writes it."""

    def __init__(self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._database = Database(path, read_only=True, busy_timeout_s=busy_timeout_s)

    def positions(self) -> Sequence[SinkPosition]:
        with self._database.use() as connection:
            found = connection.execute(
                "SELECT topic, partition, topic_id, incarnation, next_offset, epoch, owner"
                " FROM fg_positions JOIN fg_incarnations USING (topic, incarnation)"
                " ORDER BY topic, partition, incarnation"
            ).fetchall()
        return [SinkPosition(TopicPartition(topic, partition), *rest) for topic, partition, *rest in found]

    def summary(self, event_type: EventType) -> TableSummary:
        with self._database.use() as connection:
            # Two counts, and not one with a filter: the first is then read off the smallest index, and the second costs
            # nothing where the columns are NOT NULL. A table of a million rows takes milliseconds.
            table = table_of(event_type).name
            rows, incomplete = connection.execute(
                f"SELECT (SELECT count(*) FROM {table}), (SELECT count(*) FROM {table} WHERE {_INCOMPLETE})"
            ).fetchone()
        return TableSummary(rows, rows - incomplete)

    def offsets(self, event_type: EventType, partition: TopicPartition, incarnation: int) -> LandedOffsets:
        place: tuple[Value, ...] = (*partition, incarnation)
        absorbed = (
            'SELECT "offset" AS at FROM fg_absorbed WHERE topic = ? AND partition = ? AND incarnation = ?'
            " AND event_type = ? AND kind = ?"
        )
        with self._database.snapshot() as connection:
            landed = offsets_of(
                connection,
                f"SELECT source_offset AS at FROM {table_of(event_type).name}"
                " WHERE source_topic = ? AND source_partition = ? AND source_incarnation = ?",
                place,
            )
            duplicates, filtered = (
                offsets_of(connection, absorbed, (*place, event_type.name, kind)) for kind in ("duplicate", "filtered")
            )
        return LandedOffsets(landed, duplicates, filtered)

    def doubled(self, event_type: EventType, limit: int = 100) -> Sequence[str]:
        found: list[str] = []
        with self._database.use() as connection:
            # Counted, although the table has constraints: this is the proof that they hold.
            for what, by in (
                ("ingestion_id", "ingestion_id"),
                ("producer_service || '/' || event_id", "producer_service, event_id"),
            ):
                found += [
                    text
                    for (text,) in connection.execute(
                        f"SELECT {what} FROM {table_of(event_type).name} GROUP BY {by} HAVING count(*) > 1 LIMIT ?",
                        (limit - len(found),),
                    ).fetchall()
                ]
        return found

    def recent(
        self, event_type: EventType, limit: int, where: Mapping[str, str] | None = None
    ) -> Sequence[Mapping[str, object]]:
        table = table_of(event_type)
        condition, values = _condition(table, where or {})
        names = ", ".join(quoted(column.name.lower()) for column in table.columns)
        with self._database.use() as connection:
            found = connection.execute(
                f"SELECT {names} FROM {table.name} {condition} ORDER BY rowid DESC LIMIT ?",
                (*values, max(limit, 0)),
            ).fetchall()
        return [table.loaded(row) for row in found]

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        self._database.close()


_READ: dict[Kind, Callable[[str], Value]] = {
    Kind.INTEGER: int,
    Kind.REAL: float,
    Kind.BOOLEAN: lambda text: {"true": 1, "false": 0}[text],
    Kind.TIMESTAMP: lambda text: timestamp_text(datetime.fromisoformat(text)),
}


def _condition(table: BronzeTable, where: Mapping[str, str]) -> tuple[str, list[Value]]:
    """A WHERE clause and its values; text that is no value of its column matches nothing."""
    kinds = {column.name.lower(): column.kind for column in table.columns}
    if unknown := sorted(where.keys() - kinds.keys()):
        raise ConfigurationError(
            f"{table.event_type.name} has no column {', '.join(unknown)}; its columns are {', '.join(kinds)}"
        )
    clauses: list[str] = []
    values: list[Value] = []
    for name, text in where.items():
        read = _READ.get(kinds[name], str)
        try:
            values.append(read(text))
        except (ValueError, KeyError):
            return "WHERE false", []
        clauses.append(f"{quoted(name)} = ?")
    return f"WHERE {' AND '.join(clauses)}" if clauses else "", values
