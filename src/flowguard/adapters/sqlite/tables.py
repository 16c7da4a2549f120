"""A bronze table in sqlite: its definition, and the form its values take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from operator import ne
from typing import Any

from flowguard.adapters.sqlite.database import Value
from flowguard.domain.catalog import EventType
from flowguard.domain.columns import METADATA, Column, Kind, columns_of
from flowguard.domain.errors import ConfigurationError, RowFault
from flowguard.domain.rows import Row, Rows

_TYPES = {
    Kind.TEXT: "TEXT",
    Kind.INTEGER: "INTEGER",
    Kind.REAL: "REAL",
    Kind.DECIMAL: "TEXT",  # exact; a numeric affinity would make a double of it
    Kind.BOOLEAN: "INTEGER",
    Kind.TIMESTAMP: "TEXT",
    Kind.JSON: "TEXT",
}
_LARGEST_INT = 2**63
_RESERVED = ("fg_", "sqlite_")


def quoted(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, eq=False)
class BronzeTable:
    """The table of one event type. Timestamps are ISO-8601 text in UTC with microseconds, decimals are text, exact."""

    event_type: EventType
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        """As an SQL identifier."""
        return quoted(self.event_type.table)

    def definition(self) -> list[str]:
        """The statements that make it."""
        lines = [_definition_of(column) for column in self.columns]
        lines += ["UNIQUE (ingestion_id)", "UNIQUE (producer_service, event_id)"]
        body = ",\n  ".join(lines)
        index = quoted(f"fg_{self.event_type.table}_source")
        return [
            f"CREATE TABLE {self.name} (\n  {body}\n)",
            f"CREATE INDEX {index} ON {self.name} (source_topic, source_incarnation, source_partition, source_offset)",
        ]

    def additions(self, found: dict[str, str]) -> list[str]:
        """The statements that bring a table with these columns (name to SQL type) up to date.

        Raises ConfigurationError where no ALTER TABLE could.
        """
        table = self.event_type.table
        statements = []
        for column in self.columns:
            wanted = _TYPES[column.kind]
            known = found.get(column.name.lower())
            if known is None and column.required:
                raise ConfigurationError(
                    f"table {table} exists and has no column {column.name}, so it is no bronze table: rename it, or"
                    f" give the event type {self.event_type.name} another table"
                )
            if known is None:
                statements.append(self.add_column(column.name.lower()))
            elif known.upper() != wanted:
                raise ConfigurationError(
                    f"column {column.name} of table {table} holds {known}, and the model of {self.event_type.name} now"
                    f" says {wanted}: give the changed field a new name"
                )
        return statements

    def add_column(self, name: str) -> str:
        """The statement that adds one column, named in lower case."""
        (column,) = (one for one in self.columns if one.name.lower() == name)
        return f"ALTER TABLE {self.name} ADD COLUMN {_definition_of(column)}"

    def insert(self, rows: int) -> str:
        """An INSERT of so many rows that passes over those that exist."""
        names = ", ".join(quoted(column.name.lower()) for column in self.columns)
        one = f"({', '.join('?' * len(self.columns))})"
        return f"INSERT INTO {self.name} ({names}) VALUES {', '.join([one] * rows)} ON CONFLICT DO NOTHING"

    @property
    def insert_nothing(self) -> str:
        """A statement that does nothing, and fails where the table or one of its columns is missing."""
        names = ", ".join(f"{self.name}.{quoted(column.name.lower())}" for column in self.columns)
        return f"SELECT {names} FROM {self.name} LIMIT 0"

    def stored(self, rows: Iterable[Row]) -> list[Value]:
        """The values of the rows as sqlite stores them, one row after the other, ready to be bound."""
        values: list[Value] = list(chain.from_iterable(rows))
        for index, column in enumerate(self.columns):
            if convert := _STORED.get(column.kind):
                every = slice(index, None, len(self.columns))
                values[every] = convert(values[every])
        return values

    def loaded(self, row: Sequence[Any]) -> dict[str, object]:
        """A stored row by column name, in Python's own types."""
        return {
            column.name.lower(): value if value is None or column.kind not in _LOADED else _LOADED[column.kind](value)
            for column, value in zip(self.columns, row, strict=True)
        }


@lru_cache(maxsize=1_000)
def table_of(event_type: EventType) -> BronzeTable:
    """The bronze table of an event type. Raises ConfigurationError where sqlite cannot have such a table."""
    if event_type.table.startswith(_RESERVED):
        raise ConfigurationError(
            f"the table of {event_type.name} is named {event_type.table}: names that begin with"
            f" {' or '.join(_RESERVED)} are taken; give the event type another table"
        )
    columns = (*METADATA, *columns_of(event_type.model))
    names = [column.name.lower() for column in columns]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(
            f"{event_type.model.__name__} of {event_type.name} has fields whose columns have the same name"
            f" {', '.join(doubled)} (case does not count in SQL): rename one of each"
        )
    return BronzeTable(event_type, columns)


@lru_cache(maxsize=1_000)
def table_without(event_type: EventType, lacking: frozenset[str]) -> BronzeTable:
    """The same as `table_of`, of which these columns (in lower case) are not there yet."""
    table = table_of(event_type)
    return replace(table, columns=tuple(one for one in table.columns if one.name.lower() not in lacking))


def faults(table: BronzeTable, rows: Rows) -> Iterator[RowFault]:
    """The rows that sqlite cannot store, each with the column that is to blame."""
    for offset, row in zip(rows.offsets, rows.values, strict=True):
        for column, value in zip(table.columns, row, strict=True):
            if why := _fault(column, value):
                yield RowFault(rows.partition, offset, f"{column.name}: {why}")
                break


def _fault(column: Column, value: object) -> str | None:
    match value:
        case None:
            return "must not be null" if column.required else None
        case str():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                return f"is no valid text ({error.reason} at character {error.start})"
        case int() if not -_LARGEST_INT <= value < _LARGEST_INT:
            return "the integer does not fit 64 bits"
        case float() if value != value:  # noqa: PLR0124  # only NaN differs from itself
            return "NaN cannot be stored"
        case _:
            convert = _STORED.get(column.kind)
            try:
                if convert is not None:
                    convert([value])
            except (ValueError, OverflowError, TypeError, AttributeError) as error:
                return str(error)
    return None


def _definition_of(column: Column) -> str:
    return f"{quoted(column.name.lower())} {_TYPES[column.kind]}{' NOT NULL' if column.required else ''}"


def timestamp_text(moment: datetime) -> str:
    """ISO-8601 in UTC with microseconds, so that text order is time order. A naive time is taken as UTC."""
    if moment.tzinfo is not UTC:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat("T", "microseconds")


def _timestamps(values: Iterable[datetime | None]) -> list[str | None]:
    texts: list[str | None] = []
    last: datetime | None = None
    text: str | None = None
    for value in values:
        if value is not last:  # ingested_at is one object in a whole batch
            last = value
            text = None if value is None else timestamp_text(value)
        texts.append(text)
    return texts


def _reals(values: Sequence[float | None]) -> Sequence[float | None]:
    # sqlite would store NaN as null, and nobody would know.
    if any(map(ne, values, values)):
        raise ValueError("NaN cannot be stored")
    return values


def _decimals(values: Iterable[Decimal | None]) -> list[str | None]:
    return [None if value is None else str(value) for value in values]


_STORED: dict[Kind, Callable[[Sequence[Any]], Sequence[Any]]] = {
    Kind.TIMESTAMP: _timestamps,
    Kind.DECIMAL: _decimals,
    Kind.REAL: _reals,
}
_LOADED: dict[Kind, Callable[[Any], object]] = {
    Kind.TIMESTAMP: datetime.fromisoformat,
    Kind.DECIMAL: Decimal,
    Kind.BOOLEAN: bool,
}
