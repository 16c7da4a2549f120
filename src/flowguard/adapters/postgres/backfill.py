"""Metadata for the rows of older bronze tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from flowguard.adapters.postgres.database import TIMEOUT_S, Database
from flowguard.adapters.postgres.tables import quoted, table_of
from flowguard.domain.backfill import FIRST_VERSION, UNKNOWN, OldColumn, held_under, unknown_prefix
from flowguard.domain.catalog import EventType
from flowguard.domain.columns import METADATA, Kind
from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.ports.backfill import Backfill, BackfillReport

if TYPE_CHECKING:
    from psycopg import Connection

_PAGES: Final = 64
"""Of a table, that one transaction fills: some thousand rows."""
_LOCK: Final = 0x66696C6C  # "fill"
_COLUMNS: Final = """
    SELECT attname, format_type(atttypid, NULL), atthasdef, EXISTS (
      SELECT FROM pg_index WHERE indrelid = attrelid AND indisunique AND indpred IS NULL AND indexprs IS NULL
        AND indnkeyatts = 1 AND indkey[0] = attnum
    ) FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_KINDS: Final = {
    "text": Kind.TEXT,
    "character varying": Kind.TEXT,
    "timestamp with time zone": Kind.TIMESTAMP,
    "timestamp without time zone": Kind.TIMESTAMP,
}
_TIMES: Final = ("occurred_at", "ingested_at")
_REQUIRED: Final = tuple(column.name for column in METADATA if column.required)

# Numbers within 32 and 64 bits.
_PLACED: Final = "ingestion_id ~ '^[A-Za-z0-9._-]+(@[1-9][0-9]{0,8})?-[0-9]{1,9}-[0-9]{1,18}$'"
_TOPIC: Final = "regexp_replace(ingestion_id, '(@[1-9][0-9]*)?-[0-9]+-[0-9]+$', '')"
_INCARNATION: Final = "coalesce(substring(ingestion_id from '@([0-9]+)-[0-9]+-[0-9]+$')::integer, 1)"
_PARTITION: Final = "substring(ingestion_id from '-([0-9]+)-[0-9]+$')::integer"
_OFFSET: Final = "substring(ingestion_id from '([0-9]+)$')::bigint"


@dataclass(frozen=True)
class _Filling:
    """One table's statements. In each, `fg_row` is the row."""

    event_type: EventType
    columns: tuple[OldColumn, ...]
    types: Mapping[str, str]

    @cached_property
    def taken(self) -> Mapping[str, OldColumn]:
        """The older columns that hold metadata."""
        old = [one for one in self.columns if one.name not in _REQUIRED]
        return {name: found for name in _REQUIRED if (found := held_under(name, old)) is not None}

    def counts(self) -> str:
        """Rows: all, those to fill, those whose place is unknown, those complete now, those complete afterwards."""
        complete = " AND ".join(f"{name} IS NOT NULL" for name in _REQUIRED)
        afterwards = " AND ".join(f"{value} IS NOT NULL" for value in self._uncertain().values())
        filters = (self._can_be_filled(), f"({_PLACED}) IS NOT TRUE", complete, afterwards)
        return (
            f"SELECT count(*), {', '.join(f'count(*) FILTER (WHERE {one})' for one in filters)}"
            f" FROM {quoted(self.event_type.table)} AS fg_row"
        )

    def update(self) -> str:
        """Fill pages. Parameters: the last number used, the first page, the end. Gives rows filled, and that number."""
        table = quoted(self.event_type.table)
        own_id = f"coalesce(ingestion_id, {_text(unknown_prefix(self.event_type.table))} || old.n)"
        certain = {
            "event_type": _text(self.event_type.name),
            "schema_version": str(FIRST_VERSION),
            "source_topic": f"CASE WHEN {_PLACED} THEN {_TOPIC} ELSE {_text(self.event_type.topic)} END",
            "producer_service": _text(UNKNOWN),
            "ingestion_id": own_id,
            "event_id": own_id,
            "payload": self._payload(),
        }
        values = {name: f"coalesce({', '.join([name, *self._old(name), value])})" for name, value in certain.items()}
        sets = ", ".join(f"{name} = {value}" for name, value in (values | self._uncertain()).items())
        return f"""
            WITH filled AS (
              UPDATE {table} AS fg_row SET {sets}
              FROM (
                SELECT ctid AS at, %s + count(*) FILTER (WHERE ingestion_id IS NULL) OVER (ORDER BY ctid) AS n
                FROM {table} AS fg_row WHERE ctid >= %s::tid AND ctid < %s::tid AND ({self._can_be_filled()})
              ) AS old WHERE fg_row.ctid = old.at RETURNING old.n
            ) SELECT count(*), max(n) FROM filled
        """

    def _uncertain(self) -> dict[str, str]:
        """The columns for which there may be nothing, with what they hold afterwards."""
        placed = {
            "source_incarnation": f"CASE WHEN {_PLACED} THEN {_INCARNATION} END",
            "source_partition": f"CASE WHEN {_PLACED} THEN {_PARTITION} END",
            "source_offset": f"CASE WHEN {_PLACED} THEN {_OFFSET} END",
        }
        values = {name: f"coalesce({name}, {value})" for name, value in placed.items()}
        return values | {name: f"coalesce({', '.join([name, *self._old(name)])})" for name in _TIMES}

    def _can_be_filled(self) -> str:
        uncertain = self._uncertain()
        certain = [f"{name} IS NULL" for name in _REQUIRED if name not in uncertain]
        return " OR ".join(
            [*certain, *(f"({name} IS NULL AND {value} IS NOT NULL)" for name, value in uncertain.items())]
        )

    def _old(self, name: str) -> list[str]:
        old = self.taken.get(name)
        if old is None:
            return []
        naive = self.types[old.name] == "timestamp without time zone"
        return [f"fg_row.{quoted(old.name)}{' AT TIME ZONE ' + _text('UTC') if naive else ''}"]

    def _payload(self) -> str:
        """The row's own columns as one object, without those that are null."""
        ours = ", ".join(_text(column.name) for column in METADATA)
        return f"""(
            SELECT ('{{' || coalesce(string_agg(to_json(key) || ':' || value, ',' ORDER BY at), '') || '}}')::json
            FROM json_each(to_json(fg_row)) WITH ORDINALITY AS field (key, value, at)
            WHERE key NOT IN ({ours}) AND value::text <> 'null'
        )"""


class PostgresBackfill(Backfill):
    """Fills the tables of one database, page by page."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._database = Database(url, timeout_s=timeout_s, patient=True)

    def plan(self, event_type: EventType) -> BackfillReport:
        with self._database.transaction() as connection:
            filling = _filling(connection, event_type, self._database.where)
            return _report(connection, filling)

    def run(self, event_type: EventType, progress: Callable[[int], None]) -> BackfillReport:
        with self._alone(event_type):
            before = self.plan(event_type)
            filled = self._fill(event_type, progress) if before.filled else 0
            after = self.plan(event_type)
        return BackfillReport(
            after.rows, filled, after.unknown, before.complete_before, after.complete_before, before.taken
        )

    def close(self) -> None:
        self._database.close()

    def _fill(self, event_type: EventType, progress: Callable[[int], None]) -> int:
        with self._database.transaction() as connection:
            filling = _filling(connection, event_type, self._database.where)
            number, end = _last_number_and_pages(connection, event_type)
        filled = 0
        # Rows that land meanwhile have their metadata, and rows that were filled go to the end: neither is looked at.
        for first in range(0, end, _PAGES):
            with self._database.transaction() as connection:
                done, last = connection.execute(
                    filling.update(), [number, f"({first},0)", f"({min(first + _PAGES, end)},0)"]
                ).fetchone() or (0, None)
            filled += done
            number = max(number, last or 0)
            progress(filled)
        return filled

    @contextmanager
    def _alone(self, event_type: EventType) -> Iterator[None]:
        """Nobody else numbers the rows of this table meanwhile."""
        with self._database.transaction() as connection:
            (mine,) = connection.execute(
                "SELECT pg_try_advisory_lock(%s, hashtext(%s))", [_LOCK, event_type.table]
            ).fetchone() or (False,)
        if not mine:
            raise TransientError(f"{self._database.where}: another backfill is at table {event_type.table}")
        try:
            yield
        finally:
            with self._database.transaction() as connection:
                connection.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", [_LOCK, event_type.table])


def _filling(connection: Connection[Any], event_type: EventType, where: str) -> _Filling:
    found = connection.execute(_COLUMNS, [table_of(event_type).name]).fetchall()
    if missing := sorted({column.name for column in METADATA} - {name for name, *_ in found}):
        what = f"table {event_type.table} lacks {', '.join(missing)}" if found else f"no table {event_type.table} yet"
        raise ConfigurationError(f"{where}: {what}: run `flowguard migrate`")
    columns = tuple(OldColumn(name, _KINDS.get(kind), defaulted, unique) for name, kind, defaulted, unique in found)
    return _Filling(event_type, columns, {name: kind for name, kind, *_ in found})


def _report(connection: Connection[Any], filling: _Filling) -> BackfillReport:
    rows, fillable, unknown, now, then = connection.execute(filling.counts()).fetchone() or (0, 0, 0, 0, 0)
    return BackfillReport(
        rows, fillable, unknown, now, then, tuple((name, old.name) for name, old in filling.taken.items())
    )


def _last_number_and_pages(connection: Connection[Any], event_type: EventType) -> tuple[int, int]:
    """The largest number that marks an unknown row, and how many pages the table has."""
    table, prefix = table_of(event_type).name, unknown_prefix(event_type.table)
    number, end = connection.execute(
        f"SELECT (SELECT coalesce(max(substring(ingestion_id from '([0-9]{{1,18}})$')::bigint), 0) FROM {table}"
        " WHERE starts_with(ingestion_id, %s)),"
        " pg_relation_size(%s::regclass) / current_setting('block_size')::bigint",
        [prefix, table],
    ).fetchone() or (0, 0)
    return number, end


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
