"""A bronze table in PostgreSQL: its definition, and the form its values take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from sqlalchemy import BigInteger, Boolean, Double, MetaData, Numeric, Table, Text, UniqueConstraint
from sqlalchemy import Column as SqlColumn
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from flowguard.domain.catalog import EventType
from flowguard.domain.columns import METADATA, Column, Kind, columns_of
from flowguard.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]
_TYPES: Final[dict[Kind, TypeEngine[Any]]] = {
    Kind.TEXT: Text(),
    Kind.INTEGER: BigInteger(),
    Kind.REAL: Double(),
    Kind.DECIMAL: Numeric(),
    Kind.BOOLEAN: Boolean(),
    Kind.TIMESTAMP: postgresql.TIMESTAMP(timezone=True),
    Kind.JSON: postgresql.JSON(),  # kept as it was sent; jsonb would cost more than everything else
}
_SENT_AS: Final[dict[Kind, str]] = {
    Kind.TEXT: "text",
    Kind.INTEGER: "int8",
    Kind.REAL: "float8",
    Kind.DECIMAL: "numeric",
    Kind.BOOLEAN: "bool",
    Kind.TIMESTAMP: "timestamptz",
    Kind.JSON: "text",  # the same bytes, and the driver need not make JSON of it
}
"""The types of binary COPY."""
_KEYS: Final = {"event_id", "source_topic", "producer_service", "ingestion_id"}
"""Compared byte by byte: with a language's collation, their indexes would cost half as much again (ADR 10)."""
_TAKEN_AS: Final[dict[Kind, frozenset[str]]] = {
    Kind.TEXT: frozenset({"text", "character varying", "character"}),
    Kind.INTEGER: frozenset({"bigint", "integer", "numeric"}),
    Kind.REAL: frozenset({"double precision", "numeric"}),
    Kind.DECIMAL: frozenset({"numeric"}),
    Kind.BOOLEAN: frozenset({"boolean"}),
    Kind.TIMESTAMP: frozenset({"timestamp with time zone", "timestamp without time zone"}),
    Kind.JSON: frozenset({"json", "jsonb", "text"}),
}
"""Types that an older table may have for a column, and that hold the same."""
_RESERVED: Final = ("fg_", "pg_")


def quoted(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class FoundColumn:
    """A column as the database has it. `required`: a row needs a value for it."""

    type: str
    required: bool


@dataclass(frozen=True, eq=False)
class BronzeTable:
    """The table of one event type."""

    event_type: EventType
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        """As an SQL identifier."""
        return quoted(self.event_type.table)

    @cached_property
    def types(self) -> list[str]:
        """What the values of its columns are sent as."""
        return [_SENT_AS[column.kind] for column in self.columns]

    @cached_property
    def names(self) -> str:
        """The columns, as SQL identifiers."""
        return ", ".join(quoted(column.name.lower()) for column in self.columns)

    @property
    def stage(self) -> str:
        """The temporary table for rows that may be there already: one for each shape of each table."""
        return f"fg_stage_{crc32(f'{self.name}({self.stage_columns})'.encode()):08x}"

    @cached_property
    def stage_columns(self) -> str:
        """As they are sent, which an older table may have otherwise."""
        return ", ".join(
            f"{quoted(column.name.lower())} {self._sql_type(column)}{' NOT NULL' if column.required else ''}"
            for column in self.columns
        )

    def definition(self) -> list[str]:
        """The statements that make it."""
        table = Table(self.event_type.table, MetaData())
        for column in self.columns:
            table.append_column(SqlColumn(column.name.lower(), _type_of(column), nullable=not column.required))
        table.append_constraint(UniqueConstraint("ingestion_id"))
        table.append_constraint(UniqueConstraint("producer_service", "event_id"))
        return [str(CreateTable(table).compile(dialect=_DIALECT)).strip(), self._source_index()]

    def additions(self, found: Mapping[str, FoundColumn]) -> list[str]:
        """The statements that bring a table with these columns up to date.

        Its rows stay. Metadata that it lacks is unknown (null) for them, and known for every new row. A column that is
        not ours may be empty from then on. Raises ConfigurationError where a column has a type that cannot hold ours.
        """
        statements = []
        known = {column.name.lower(): column for column in self.columns}
        for name, column in known.items():
            there = found.get(name)
            if there is None:
                statements.append(f"ALTER TABLE {self.name} ADD COLUMN {quoted(name)} {self._sql_type(column)}")
            elif there.type.split("(")[0] not in _TAKEN_AS[column.kind]:
                raise ConfigurationError(
                    f"column {name} of table {self.event_type.table} is {there.type}, and the model of"
                    f" {self.event_type.name} now says {self._sql_type(column)}: give the changed field a new name"
                )
        statements += [
            f"ALTER TABLE {self.name} ALTER COLUMN {quoted(name)} DROP NOT NULL"
            for name, there in found.items()
            if there.required and name not in known
        ]
        if "ingestion_id" not in found:  # a bronze table of before there was metadata
            statements += [
                f"ALTER TABLE {self.name} ADD UNIQUE (ingestion_id)",
                f"ALTER TABLE {self.name} ADD UNIQUE (producer_service, event_id)",
                self._source_index(),
            ]
        return statements

    def add_column(self, name: str) -> str:
        """The statement that adds one column of the model, harmless where it is there already."""
        (column,) = (one for one in self.columns if one.name.lower() == name)
        return f"ALTER TABLE {self.name} ADD COLUMN IF NOT EXISTS {quoted(name)} {self._sql_type(column)}"

    def _sql_type(self, column: Column) -> str:
        return str(_type_of(column).compile(dialect=_DIALECT))

    def _source_index(self) -> str:
        """For people who look for a range of offsets. A b-tree would be a third of what a row costs (ADR 10)."""
        index = quoted(f"fg_{self.event_type.table}_source")
        return f"CREATE INDEX {index} ON {self.name} USING brin (source_partition, source_offset)"

    def loaded(self, row: Sequence[Any]) -> dict[str, object]:
        """A stored row by column name, in Python's own types."""
        return {column.name.lower(): value for column, value in zip(self.columns, row, strict=True)}


@lru_cache(maxsize=1_000)
def table_of(event_type: EventType) -> BronzeTable:
    """The bronze table of an event type. Raises ConfigurationError where PostgreSQL cannot have such a table."""
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
    if long := [name for name in names if len(name.encode()) > 63]:  # noqa: PLR2004  # NAMEDATALEN - 1
        raise ConfigurationError(
            f"{event_type.model.__name__} of {event_type.name} has the field {long[0]}: PostgreSQL cuts names after"
            " 63 bytes; give it a shorter one"
        )
    return BronzeTable(event_type, columns)


def _type_of(column: Column) -> TypeEngine[Any]:
    return Text(collation="C") if column.name in _KEYS else _TYPES[column.kind]
