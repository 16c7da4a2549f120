"""What the warehouse can tell of what landed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from flowguard.adapters.postgres.database import TIMEOUT_S, Database
from flowguard.adapters.postgres.islands import offsets_of
from flowguard.adapters.postgres.tables import BronzeTable, quoted, table_of
from flowguard.domain.catalog import EventType
from flowguard.domain.columns import METADATA, Kind
from flowguard.domain.errors import ConfigurationError
from flowguard.domain.ingestion import TopicPartition
from flowguard.ports.ledger import LandedOffsets, Ledger, SinkPosition, TableSummary

if TYPE_CHECKING:
    from psycopg import Connection

_INCOMPLETE: Final = " OR ".join(f"{quoted(column.name)} IS NULL" for column in METADATA if column.required)
_PAGES: Final = 32
"""Of the end of a table, that are looked through first for what landed last."""


class PostgresLedger(Ledger):
    """Reads one database, beside whoever writes it."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._database = Database(url, timeout_s=timeout_s, patient=True)

    def positions(self) -> Sequence[SinkPosition]:
        with self._database.transaction() as connection:
            found = connection.execute(
                "SELECT topic, partition, topic_id, incarnation, next_offset, epoch, owner"
                " FROM fg_positions JOIN fg_incarnations USING (topic, incarnation)"
                " ORDER BY topic, partition, incarnation"
            ).fetchall()
        return [SinkPosition(TopicPartition(topic, partition), *rest) for topic, partition, *rest in found]

    def summary(self, event_type: EventType) -> TableSummary:
        with self._database.transaction() as connection:
            # Two counts, and not one with a filter: the first is read off the smallest index, and the second costs
            # nothing where the columns are NOT NULL.
            table = table_of(event_type).name
            found = connection.execute(
                f"SELECT (SELECT count(*) FROM {table}), (SELECT count(*) FROM {table} WHERE {_INCOMPLETE})"
            ).fetchone()
        rows, incomplete = found or (0, 0)
        return TableSummary(rows, rows - incomplete)

    def offsets(self, event_type: EventType, partition: TopicPartition, incarnation: int) -> LandedOffsets:
        place = (*partition, incarnation)
        absorbed = (
            'SELECT "offset" AS at FROM fg_absorbed WHERE topic = %s AND partition = %s AND incarnation = %s'
            " AND event_type = %s AND kind = %s"
        )
        with self._database.snapshot() as connection:
            landed = offsets_of(
                connection,
                f"SELECT source_offset AS at FROM {table_of(event_type).name}"
                " WHERE source_topic = %s AND source_partition = %s AND source_incarnation = %s",
                place,
            )
            duplicates, filtered = (
                offsets_of(connection, absorbed, (*place, event_type.name, kind)) for kind in ("duplicate", "filtered")
            )
        return LandedOffsets(landed, duplicates, filtered)

    def doubled(self, event_type: EventType, limit: int = 100) -> Sequence[str]:
        found: list[str] = []
        with self._database.transaction() as connection:
            # Counted, although the table has constraints: this is the proof that they hold.
            for what, by in (
                ("ingestion_id", "ingestion_id"),
                ("producer_service || '/' || event_id", "producer_service, event_id"),
            ):
                found += [
                    text
                    for (text,) in connection.execute(
                        f"SELECT {what} FROM {table_of(event_type).name} WHERE ({by}) IS NOT NULL"
                        f" GROUP BY {by} HAVING count(*) > 1 LIMIT %s",
                        [limit - len(found)],
                    )
                ]
        return found

    def recent(
        self, event_type: EventType, limit: int, where: Mapping[str, str] | None = None
    ) -> Sequence[Mapping[str, object]]:
        table = table_of(event_type)
        condition, values = _condition(table, where or {})
        found: list[Sequence[Any]] = []
        with self._database.transaction() as connection:
            for first, end in _pieces_from_the_end(connection, table):
                if len(found) >= max(limit, 0):
                    break
                found += connection.execute(
                    f"SELECT {_selected(table)} FROM {table.name} WHERE ctid >= %s::tid AND ctid < %s::tid {condition}"
                    " ORDER BY ctid DESC LIMIT %s",
                    [f"({first},0)", f"({end},0)", *values, limit - len(found)],
                ).fetchall()
        return [table.loaded(row) for row in found]

    def close(self) -> None:
        """Let go of the database. Idempotent."""
        self._database.close()


def _pieces_from_the_end(connection: Connection[Any], table: BronzeTable) -> Iterator[tuple[int, int]]:
    """Page numbers [first, end) of the table, from its end on: rows land there, so no index is needed to find them.

    What a vacuum has freed is filled first: a row that lands there looks older than it is.
    """
    found = connection.execute(
        "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::bigint", [table.name]
    ).fetchone()
    end, width = (found[0] if found else 0), _PAGES
    while end > 0:
        yield max(0, end - width), end
        end, width = end - width, width * 4


def _selected(table: BronzeTable) -> str:
    """JSON as it was sent: the driver would make objects of it."""
    return ", ".join(
        f"{quoted(column.name.lower())}{'::text' if column.kind is Kind.JSON else ''}" for column in table.columns
    )


_READ: Final[dict[Kind, Callable[[str], object]]] = {
    Kind.INTEGER: int,
    Kind.REAL: float,
    Kind.DECIMAL: Decimal,
    Kind.BOOLEAN: lambda text: {"true": True, "false": False}[text],
    Kind.TIMESTAMP: datetime.fromisoformat,
}


def _condition(table: BronzeTable, where: Mapping[str, str]) -> tuple[str, list[object]]:
    """More of a WHERE clause and its values; text that is no value of its column matches nothing."""
    kinds = {column.name.lower(): column.kind for column in table.columns}
    if unknown := sorted(where.keys() - kinds.keys()):
        raise ConfigurationError(
            f"{table.event_type.name} has no column {', '.join(unknown)}; its columns are {', '.join(kinds)}"
        )
    clauses: list[str] = []
    values: list[object] = []
    for name, text in where.items():
        try:
            values.append(_READ.get(kinds[name], str)(text))
        except (ValueError, KeyError, ArithmeticError):
            return "AND false", []
        cast = "::text" if kinds[name] is Kind.JSON else ""
        clauses.append(f"AND {quoted(name)}{cast} = %s")
    return " ".join(clauses), values
