"""A bronze table in PostgreSQL: its definition, and the form its values take."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
_CONVERTED: Final[dict[Kind, Mapping[str, str]]] = {
    Kind.TEXT: {"character varying": "", "character": ""},
    Kind.INTEGER: {"bigint": "", "integer": "", "smallint": ""},
    Kind.REAL: {"real": ""},
    Kind.DECIMAL: {"numeric": "", "bigint": "", "integer": ""},
    Kind.BOOLEAN: {},
    Kind.TIMESTAMP: {"timestamp without time zone": "{} AT TIME ZONE 'UTC'"},
    Kind.JSON: {"jsonb": "", "text": "{}::json"},
}
"""Types of older tables (without their length) whose values ours can hold, and how they are converted."""
_RESERVED: Final = ("fg_", "pg_")


def quoted(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class FoundColumn:
    """A column as the database has it.

    `required`: a row needs a value for it. `unique`: a constraint sees to it that no value comes twice.
    """

    type: str
    required: bool
    unique: bool = False


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

    def additions(self, found: Mapping[str, FoundColumn], *, event_key: bool) -> list[str]:
        """The statements that bring a table with these columns up to date. `event_key`: events are unique there.

        Its rows stay. Metadata that it lacks is unknown (null) for them, and known for every new row. What our rows
        leave empty may be empty from then on. Raises ConfigurationError where a column has a type that cannot become
        ours.
        """
        ours = {column.name.lower(): column for column in self.columns}
        actions = []
        for name, column in ours.items():
            if name not in found:
                actions.append(f"ADD COLUMN {quoted(name)} {self._sql_type(column)}")
            elif found[name].type != _type_name(column):
                actions.append(self._converted(column, found[name].type))
        actions += [
            f"ALTER COLUMN {quoted(name)} DROP NOT NULL"
            for name, there in found.items()
            if there.required and not (name in ours and ours[name].required)
        ]
        if "ingestion_id" not in found or not found["ingestion_id"].unique:
            actions.append("ADD UNIQUE (ingestion_id)")
        if not event_key:
            actions.append("ADD UNIQUE (producer_service, event_id)")
        index = [self._source_index()] if "source_offset" not in found else []
        return [*(f"ALTER TABLE {self.name} {action}" for action in actions), *index]

    def require_types(self, found: Mapping[str, str]) -> None:
        """Raise ConfigurationError where a column of the table, by name in lower case, has another type than ours."""
        for column in self.columns:
            there, ours = found.get(column.name.lower()), _type_name(column)
            if there is not None and there != ours:
                raise ConfigurationError(
                    f"column {column.name.lower()} of table {self.event_type.table} is {there}, and {ours} is needed:"
                    " run `flowguard migrate`, which converts it, or says why it cannot"
                )

    def _converted(self, column: Column, there: str) -> str:
        name, ours = quoted(column.name.lower()), self._sql_type(column)
        # timestamp(3) without time zone -> timestamp without time zone
        using = _CONVERTED[column.kind].get(re.sub(r"\(.*?\)", "", there))
        if using is None:
            who, mend = f"the model of {self.event_type.name} now says", "give the changed field a new name"
            if column in METADATA:
                who, mend = "FlowGuard's own is", "rename the one that is there"
            raise ConfigurationError(
                f"column {column.name.lower()} of table {self.event_type.table} is {there}, and {who} {ours}, which"
                f" does not hold the same: {mend}"
            )
        return f"ALTER COLUMN {name} TYPE {ours}{f' USING {using.format(name)}' if using else ''}"

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


@lru_cache(maxsize=1_000)
def table_without(event_type: EventType, lacking: frozenset[str]) -> BronzeTable:
    """The same as `table_of`, of which these columns (in lower case) are not there yet."""
    table = table_of(event_type)
    return replace(table, columns=tuple(one for one in table.columns if one.name.lower() not in lacking))


def _type_of(column: Column) -> TypeEngine[Any]:
    return Text(collation="C") if column.name in _KEYS else _TYPES[column.kind]


def _type_name(column: Column) -> str:
    """The type as PostgreSQL calls it."""
    return str(_TYPES[column.kind].compile(dialect=_DIALECT)).lower()
