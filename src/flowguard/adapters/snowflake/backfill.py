"""Metadata for the rows of older bronze tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from flowguard.adapters.snowflake.database import QUERY_TIMEOUT_S, TIMEOUT_S, Database, Session
from flowguard.adapters.snowflake.places import ID_OFFSET, ID_TOPIC, INCARNATION, OFFSET, PARTITION, PLACED
from flowguard.adapters.snowflake.positions import take_turn
from flowguard.adapters.snowflake.tables import TYPES, literal, quoted, table_of
from flowguard.domain.backfill import FIRST_VERSION, UNKNOWN, OldColumn, held_under, unknown_prefix
from flowguard.domain.catalog import EventType
from flowguard.domain.columns import METADATA, Kind
from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.ports.backfill import Backfill, BackfillReport

_FILLED: Final = "FG_FILLED"
_COLUMNS: Final = (
    "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_DEFAULT FROM INFORMATION_SCHEMA.COLUMNS"
    " WHERE TABLE_SCHEMA = CURRENT_SCHEMA() AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION"
)
_KINDS: Final = {"TEXT": Kind.TEXT, "VARCHAR": Kind.TEXT} | dict.fromkeys(
    ("TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ"), Kind.TIMESTAMP
)
_TIMES: Final = ("OCCURRED_AT", "INGESTED_AT")
_REQUIRED: Final = tuple(column.name.upper() for column in METADATA if column.required)
_TYPES: Final = {column.name.upper(): TYPES[column.kind] for column in METADATA}
_OURS: Final = frozenset({*_TYPES, "LANDED_AT"})


@dataclass(frozen=True)
class _Filling:
    """One table's statements."""

    event_type: EventType
    columns: tuple[OldColumn, ...]

    @cached_property
    def taken(self) -> Mapping[str, OldColumn]:
        """The older columns that hold metadata."""
        old = [one for one in self.columns if one.name not in _OURS]
        return {name: found for name in _REQUIRED if (found := held_under(name.lower(), old)) is not None}

    @property
    def table(self) -> str:
        return table_of(self.event_type).name

    def counts(self) -> str:
        """Rows: all, those to fill, those whose place is unknown, those complete now, those complete afterwards."""
        complete = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in _REQUIRED)
        afterwards = " AND ".join(f"{value} IS NOT NULL" for value in self._uncertain().values())
        filters = (self.fillable, f"NOT COALESCE({PLACED}, FALSE)", complete, afterwards)
        return (
            f"SELECT COUNT(*), {', '.join(f'COUNT(CASE WHEN {one} THEN 1 END)' for one in filters)} FROM {self.table}"
        )

    def filled(self) -> str:
        """All columns of the rows to fill, as they will be. Parameter: the last number that marks an unknown row."""
        number = f"(SUM(CASE WHEN INGESTION_ID IS NULL THEN 1 ELSE 0 END) OVER (ORDER BY {self._order()}"
        number += " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) + CAST(? AS NUMBER(38, 0)))"
        numbered = f"(SELECT *, {number} AS FG_NUMBER FROM {self.table} WHERE {self.fillable})"
        prefix = literal(unknown_prefix(self.event_type.table))
        own_id = f"COALESCE(INGESTION_ID, {prefix} || CAST(FG_NUMBER AS NUMBER(38, 0)))"
        certain = {
            "EVENT_TYPE": literal(self.event_type.name),
            "SCHEMA_VERSION": str(FIRST_VERSION),
            "SOURCE_TOPIC": f"CASE WHEN {PLACED} THEN {ID_TOPIC} ELSE {literal(self.event_type.topic)} END",
            "PRODUCER_SERVICE": literal(UNKNOWN),
            "INGESTION_ID": own_id,
            "EVENT_ID": own_id,
            "PAYLOAD": self._payload(),
        }
        values = {
            name: f"COALESCE({', '.join([quoted(name), *self._old(name), value])})" for name, value in certain.items()
        } | self._uncertain()
        selected = ", ".join(
            f"{values[one.name]} AS {quoted(one.name)}" if one.name in values else quoted(one.name)
            for one in self.columns
        )
        return f"SELECT {selected} FROM {numbered}"

    @property
    def names(self) -> str:
        return ", ".join(quoted(one.name) for one in self.columns)

    @cached_property
    def fillable(self) -> str:
        uncertain = self._uncertain()
        certain = [f"{quoted(name)} IS NULL" for name in _REQUIRED if name not in uncertain]
        return "({})".format(
            " OR ".join(
                [*certain, *(f"({quoted(name)} IS NULL AND {value} IS NOT NULL)" for name, value in uncertain.items())]
            )
        )

    def _uncertain(self) -> dict[str, str]:
        """The columns for which there may be nothing, with what they hold afterwards."""
        placed = {"SOURCE_INCARNATION": INCARNATION, "SOURCE_PARTITION": PARTITION, "SOURCE_OFFSET": OFFSET}
        return placed | {name: _first_of([quoted(name), *self._old(name)]) for name in _TIMES}

    def _old(self, name: str) -> list[str]:
        old = self.taken.get(name)
        return [] if old is None else [f"CAST({quoted(old.name)} AS {_TYPES[name]})"]

    def _order(self) -> str:
        """As the rows were written, where an older column tells it."""
        times = [quoted(old.name) for name in reversed(_TIMES) if (old := self.taken.get(name)) is not None]
        ids = ['"ID"'] if any(one.name == "ID" for one in self.columns) else []
        return ", ".join([*ids, *times]) or "INGESTION_ID"

    def _payload(self) -> str:
        """The row's own columns as one object, without those that are null."""
        own = [one.name for one in self.columns if one.name not in _OURS]
        return f"OBJECT_CONSTRUCT({', '.join(f'{literal(name.lower())}, {quoted(name)}' for name in own)})"


class SnowflakeBackfill(Backfill):
    """Fills the tables of one schema.

    Snowflake has no row numbers to update by: the rows are made anew in a temporary table, and exchanged in one
    transaction, in which no consumer writes.
    """

    def __init__(
        self, url: str, *, timeout_s: float = TIMEOUT_S, query_timeout_s: float = 10 * QUERY_TIMEOUT_S
    ) -> None:
        self._database = Database(url, timeout_s=timeout_s, query_timeout_s=query_timeout_s)

    def plan(self, event_type: EventType) -> BackfillReport:
        with self._database.transaction() as session:
            return _report(session, _filling(session, event_type, self._database.where))

    def run(self, event_type: EventType, progress: Callable[[int], None]) -> BackfillReport:
        before = self.plan(event_type)
        filled = self._fill(event_type) if before.filled else 0
        progress(filled)
        after = self.plan(event_type)
        return BackfillReport(
            after.rows, filled, after.unknown, before.complete_before, after.complete_before, before.taken
        )

    def close(self) -> None:
        self._database.close()

    def _fill(self, event_type: EventType) -> int:
        with self._database.transaction() as session:
            filling = _filling(session, event_type, self._database.where)
            last = _last_number(session, filling)
            session.change(f"DROP TABLE IF EXISTS {_FILLED}")
            session.change(f"CREATE TEMPORARY TABLE {_FILLED} LIKE {filling.table}")
            take_turn(session)
            made = session.change(f"INSERT INTO {_FILLED} ({filling.names}) {filling.filled()}", last)
            removed = session.change(f"DELETE FROM {filling.table} WHERE {filling.fillable}")
            put = session.change(f"INSERT INTO {filling.table} ({filling.names}) SELECT {filling.names} FROM {_FILLED}")
            if not made == removed == put:
                table = event_type.table.upper()
                raise TransientError(
                    f"{self._database.where}: somebody else changes table {table}; nothing was changed"
                )
        return put


def _filling(session: Session, event_type: EventType, where: str) -> _Filling:
    found = session.rows(_COLUMNS, event_type.table.upper())
    missing = sorted({name.lower() for name in _OURS} - {name.lower() for name, *_ in found})
    if missing:
        lacks = f"table {event_type.table} lacks {', '.join(missing)}"
        raise ConfigurationError(
            f"{where}: {lacks if found else f'no table {event_type.table} yet'}: run `flowguard migrate`"
        )
    columns = (OldColumn(name, _KINDS.get(kind), default is not None) for name, kind, default in found)
    return _Filling(event_type, tuple(columns))


def _report(session: Session, filling: _Filling) -> BackfillReport:
    ((rows, fillable, unknown, now, then),) = session.rows(filling.counts())
    taken = tuple((name.lower(), old.name.lower()) for name, old in filling.taken.items())
    return BackfillReport(rows, fillable, unknown, now, then, taken)


def _last_number(session: Session, filling: _Filling) -> int:
    """The largest number that marks an unknown row."""
    prefix = unknown_prefix(filling.event_type.table)
    ((last,),) = session.rows(f"SELECT MAX({ID_OFFSET}) FROM {filling.table} WHERE STARTSWITH(INGESTION_ID, ?)", prefix)
    return last or 0


def _first_of(values: Iterable[str]) -> str:
    some = list(values)
    return some[0] if len(some) == 1 else f"COALESCE({', '.join(some)})"
