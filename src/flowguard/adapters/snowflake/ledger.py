"""What the warehouse can tell of what landed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from flowguard.adapters.snowflake.database import QUERY_TIMEOUT_S, TIMEOUT_S, Database, Session
from flowguard.adapters.snowflake.positions import TURN
from flowguard.adapters.snowflake.tables import LANDED_AT, SCALE, BronzeTable, quoted, table_of
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.catalog import EventType
from flowguard.domain.columns import METADATA, Kind
from flowguard.domain.errors import ConfigurationError
from flowguard.domain.ingestion import TopicPartition
from flowguard.ports.ledger import LandedOffsets, Ledger, SinkPosition, TableSummary

_INCOMPLETE: Final = " OR ".join(f"{quoted(column.name)} IS NULL" for column in METADATA if column.required)


class SnowflakeLedger(Ledger):
    """Reads one schema, beside whoever writes it."""

    def __init__(
        self, url: str, *, timeout_s: float = TIMEOUT_S, query_timeout_s: float = 10 * QUERY_TIMEOUT_S
    ) -> None:
        self._database = Database(url, timeout_s=timeout_s, query_timeout_s=query_timeout_s)

    def positions(self) -> Sequence[SinkPosition]:
        with self._database.transaction() as session:
            found = session.rows(
                "SELECT p.TOPIC, p.PARTITION, i.TOPIC_ID, p.INCARNATION, p.NEXT_OFFSET, p.EPOCH, p.OWNER"
                " FROM FG_POSITIONS AS p"
                " JOIN FG_INCARNATIONS AS i ON i.TOPIC = p.TOPIC AND i.INCARNATION = p.INCARNATION"
                " WHERE p.TOPIC <> ? ORDER BY 1, 2, 4",
                TURN,
            )
        return [SinkPosition(TopicPartition(topic, partition), *rest) for topic, partition, *rest in found]

    def summary(self, event_type: EventType) -> TableSummary:
        with self._database.transaction() as session:
            ((rows, incomplete),) = session.rows(
                f"SELECT COUNT(*), COUNT(CASE WHEN {_INCOMPLETE} THEN 1 END) FROM {table_of(event_type).name}"
            )
        return TableSummary(rows, rows - incomplete)

    def offsets(self, event_type: EventType, partition: TopicPartition, incarnation: int) -> LandedOffsets:
        place = (*partition, incarnation)
        absorbed = (
            'SELECT DISTINCT "OFFSET" AS AT_OFFSET FROM FG_ABSORBED'
            " WHERE TOPIC = ? AND PARTITION = ? AND INCARNATION = ? AND EVENT_TYPE = ? AND KIND = ?"
        )
        with self._database.transaction() as session:
            landed = offsets_of(
                session,
                f"SELECT DISTINCT SOURCE_OFFSET AS AT_OFFSET FROM {table_of(event_type).name}"
                " WHERE SOURCE_TOPIC = ? AND SOURCE_PARTITION = ? AND SOURCE_INCARNATION = ?",
                place,
            )
            duplicates, filtered = (
                offsets_of(session, absorbed, (*place, event_type.name, kind)) for kind in ("duplicate", "filtered")
            )
        return LandedOffsets(landed, duplicates, filtered)

    def doubled(self, event_type: EventType, limit: int = 100) -> Sequence[str]:
        found: list[str] = []
        with self._database.transaction() as session:
            for what, by in (
                ("INGESTION_ID", "INGESTION_ID"),
                ("PRODUCER_SERVICE || '/' || EVENT_ID", "PRODUCER_SERVICE, EVENT_ID"),
            ):
                known = " AND ".join(f"{name} IS NOT NULL" for name in by.split(", "))
                found += [
                    text
                    for (text,) in session.rows(
                        f"SELECT {what} FROM {table_of(event_type).name} WHERE {known}"
                        f" GROUP BY {by} HAVING COUNT(*) > 1 LIMIT {max(0, limit - len(found))}"
                    )
                ]
        return found

    def recent(
        self, event_type: EventType, limit: int, where: Mapping[str, str] | None = None
    ) -> Sequence[Mapping[str, object]]:
        table = table_of(event_type)
        condition, values = _condition(table, where or {})
        with self._database.transaction() as session:
            found = session.rows(
                f"SELECT {_selected(table)} FROM {table.name} WHERE {condition} ORDER BY {LANDED_AT} DESC NULLS LAST,"
                f" SOURCE_OFFSET DESC, SOURCE_PARTITION DESC LIMIT {max(limit, 0)}",
                *values,
            )
        return [table.loaded(row) for row in found]

    def close(self) -> None:
        """Let go of the schema. Idempotent."""
        self._database.close()


def offsets_of(session: Session, query: str, values: Sequence[object]) -> OffsetRanges:
    """The offsets (column AT_OFFSET, each once) that a query finds; runs of them are put together by the server."""
    found = session.rows(
        "SELECT MIN(AT_OFFSET), MAX(AT_OFFSET) FROM (SELECT AT_OFFSET,"
        f" AT_OFFSET - ROW_NUMBER() OVER (ORDER BY AT_OFFSET) AS ISLAND FROM ({query})) GROUP BY ISLAND ORDER BY 1",
        *values,
    )
    return OffsetRanges((int(first), int(last)) for first, last in found)


def _selected(table: BronzeTable) -> str:
    """JSON as text: the connector gives it with line breaks."""
    return ", ".join(
        f"TO_JSON({quoted(column.name)})" if column.kind is Kind.JSON else quoted(column.name)
        for column in table.columns
    )


_READ: Final[dict[Kind, Callable[[str], object]]] = {
    Kind.INTEGER: int,
    Kind.REAL: float,
    Kind.DECIMAL: Decimal,
    Kind.BOOLEAN: lambda text: {"true": True, "false": False}[text],
    Kind.TIMESTAMP: datetime.fromisoformat,
}
_CAST: Final[dict[Kind, str]] = {
    Kind.DECIMAL: f"::NUMBER(38, {SCALE})",
    Kind.TIMESTAMP: "::TIMESTAMP_TZ",
}


def _condition(table: BronzeTable, where: Mapping[str, str]) -> tuple[str, list[object]]:
    """A condition and its values; text that is no value of its column matches nothing."""
    kinds = {column.name.lower(): column.kind for column in table.columns}
    if unknown := sorted(where.keys() - kinds.keys()):
        raise ConfigurationError(
            f"{table.event_type.name} has no column {', '.join(unknown)}; its columns are {', '.join(kinds)}"
        )
    clauses = ["1 = 1"]
    values: list[object] = []
    for name, text in where.items():
        try:
            value: Any = _READ.get(kinds[name], str)(text)
        except (ValueError, KeyError, ArithmeticError):
            return "1 = 0", []
        # Bound as text where the connector would make a type of its own of it.
        values.append(str(value) if kinds[name] in _CAST else value)
        column = f"TO_JSON({quoted(name)})" if kinds[name] is Kind.JSON else quoted(name)
        clauses.append(f"{column} = ?{_CAST.get(kinds[name], '')}")
    return " AND ".join(clauses), values
