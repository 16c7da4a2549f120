"""A bronze table in Snowflake: its definition, and how a row's values are read out of a document."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, Final

from flowguard.domain.catalog import EventType
from flowguard.domain.columns import METADATA, Column, Kind, columns_of
from flowguard.domain.errors import ConfigurationError

SCALE: Final = 12
"""Decimal places that a column of Kind.DECIMAL keeps; before the point there is room for 26 digits."""
TYPES: Final[dict[Kind, str]] = {
    Kind.TEXT: "VARCHAR",
    Kind.INTEGER: "NUMBER(38, 0)",
    Kind.REAL: "FLOAT",
    Kind.DECIMAL: f"NUMBER(38, {SCALE})",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.TIMESTAMP: "TIMESTAMP_TZ",
    Kind.JSON: "VARIANT",
}
LANDED_AT: Final = "LANDED_AT"
"""When the sink wrote the row: what landed last is found by it, and events that are sent again are looked for in it."""
_LANDED: Final = Column(LANDED_AT.lower(), Kind.TIMESTAMP)
_LONGEST: Final = 255
_FULL_LENGTH: Final = 16_777_216
"""Characters that a VARCHAR holds for which nobody gave a length."""
_RESERVED: Final = "FG_"


def quoted(name: str) -> str:
    """The name as an SQL identifier, in upper case as everybody writes it without quotes."""
    return '"' + name.upper().replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text as an SQL literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class FoundColumn:
    """A column as Snowflake has it. `required`: a row needs a value for it. `length`: of text, in characters."""

    type: str
    required: bool
    length: int | None = None
    precision: int | None = None
    scale: int | None = None


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
    def names(self) -> str:
        """The columns, as SQL identifiers."""
        return ", ".join(quoted(column.name) for column in self.columns)

    @cached_property
    def selected(self) -> str:
        """The columns out of `s.v`, an array of [number of the row, values...]."""
        return ", ".join(self._typed.values())

    def typed(self, name: str) -> str:
        """One column out of `s.v`."""
        return self._typed[name]

    @cached_property
    def _typed(self) -> dict[str, str]:
        """JSON is in an array of its own."""
        return {
            column.name: f"GET(s.v[{at}], 0)" if column.kind is Kind.JSON else f"s.v[{at}]::{TYPES[column.kind]}"
            for at, column in enumerate(self.columns, 1)
        }

    @property
    def first(self) -> str:
        """Out of `s.v`: the ingestion id of the row before it, of the same statement, that is the same; or null."""
        return f"s.v[{len(self.columns) + 1}]::VARCHAR"

    @property
    def relayed(self) -> str:
        """Out of `s.v`: true where the row's own id is of another place."""
        return f"s.v[{len(self.columns) + 2}]::BOOLEAN"

    def definition(self) -> list[str]:
        """The statements that make it. Its keys are for those who read it: Snowflake enforces none."""
        columns = [
            f"{quoted(column.name)} {TYPES[column.kind]}{' NOT NULL' if column.required else ''}"
            for column in self.columns
        ]
        return [f"CREATE TABLE {self.name} ({', '.join([*columns, f'{LANDED_AT} TIMESTAMP_TZ'])})"]

    def additions(self, found: Mapping[str, FoundColumn]) -> list[str]:
        """The statements that bring a table with these columns (by name in upper case) up to date.

        Its rows stay; metadata that it lacks is unknown (null) for them. Text of a limited length and numbers of fewer
        digits are widened, so that nothing is cut or rounded. A SELECT counts the rows that the next statement would
        lose: it is to be 0. Raises ConfigurationError where a column has a type that cannot hold ours.
        """
        self.require_types(found)
        for column in self.columns:
            there = found.get(column.name.upper())
            if there is not None and column.kind is Kind.DECIMAL and (there.scale or 0) > SCALE:
                raise self._refused(column, f"{there.type}({there.precision}, {there.scale})")
        wanted = {**{column.name.upper(): TYPES[column.kind] for column in self.columns}, LANDED_AT: "TIMESTAMP_TZ"}
        actions: list[str] = []
        updates: list[str] = []
        for name, kind in wanted.items():
            there, old = found.get(name), f"{name}__FG"
            wrong_scale = there is not None and kind == TYPES[Kind.DECIMAL] and there.scale not in {None, SCALE}
            if wrong_scale or old in found:
                # Snowflake does not change the scale of a column: another one takes its place. Where that was broken
                # off before, it goes on.
                begun = old in found
                updates += [
                    *([] if begun else [f"ALTER TABLE {self.name} RENAME COLUMN {quoted(name)} TO {quoted(old)}"]),
                    *([] if begun and there else [f"ALTER TABLE {self.name} ADD COLUMN {quoted(name)} {kind}"]),
                    f"UPDATE {self.name} SET {quoted(name)} = {quoted(old)} WHERE {quoted(name)} IS NULL",
                    f"SELECT COUNT(*) FROM {self.name} WHERE {quoted(name)} IS NULL AND {quoted(old)} IS NOT NULL",
                    f"ALTER TABLE {self.name} DROP COLUMN {quoted(old)}",
                ]
            elif there is None:
                actions.append(f"ADD COLUMN {quoted(name)} {kind}")
            elif kind == "VARCHAR" and there.length is not None and there.length < _FULL_LENGTH:
                actions.append(f"ALTER COLUMN {quoted(name)} SET DATA TYPE VARCHAR")
            elif kind == TYPES[Kind.INTEGER] and there.scale == 0 and (there.precision or 38) < 38:  # noqa: PLR2004
                actions.append(f"ALTER COLUMN {quoted(name)} SET DATA TYPE {kind}")
        required = {column.name.upper() for column in self.columns if column.required}
        actions += [
            f"ALTER COLUMN {quoted(name)} DROP NOT NULL"
            for name, there in found.items()
            if there.required and name not in required
        ]
        return [*(f"ALTER TABLE {self.name} {action}" for action in actions), *updates]

    def add_column(self, name: str) -> str:
        """The statement that adds one column of the model (in lower case), harmless where it is there already."""
        (column,) = (one for one in self.columns if one.name.lower() == name)
        return f"ALTER TABLE {self.name} ADD COLUMN IF NOT EXISTS {quoted(name)} {TYPES[column.kind]}"

    def require_types(self, found: Mapping[str, FoundColumn]) -> None:
        """Raise ConfigurationError where a column (by name in upper case) has a type that does not hold ours."""
        for column in (*self.columns, _LANDED):
            there = found.get(column.name.upper())
            if there is not None and re.sub(r"\(.*", "", there.type).strip().upper() not in _HOLDS[column.kind]:
                raise self._refused(column, there.type)

    def require_scales(self, found: Mapping[str, FoundColumn]) -> None:
        """Raise ConfigurationError where a number would be rounded on its way in: Snowflake does that silently."""
        for column in self.columns:
            there = found.get(column.name.upper())
            if there is not None and column.kind is Kind.DECIMAL and there.scale not in {None, SCALE}:
                raise ConfigurationError(
                    f"column {column.name.upper()} of table {self.event_type.table.upper()} has {there.scale} decimal"
                    f" places, and {SCALE} are needed: run `flowguard migrate`"
                )

    def _refused(self, column: Column, there: str) -> ConfigurationError:
        own = column in METADATA or column is _LANDED
        whose = "FlowGuard's own" if own else f"the model's of {self.event_type.name}"
        mend = "rename the one that is there" if own else "give the field another name"
        return ConfigurationError(
            f"column {column.name.upper()} of table {self.event_type.table.upper()} is {there}, and {whose} is"
            f" {TYPES[column.kind]}, which it does not hold: {mend}"
        )

    def loaded(self, row: Sequence[Any]) -> dict[str, object]:
        """A stored row by column name in lower case, in Python's own types."""
        return {column.name.lower(): _in_utc(value) for column, value in zip(self.columns, row, strict=True)}


_HOLDS: Final[dict[Kind, Collection[str]]] = {
    Kind.TEXT: ("VARCHAR", "TEXT", "STRING"),
    Kind.INTEGER: ("NUMBER", "DECIMAL", "INT", "INTEGER", "BIGINT"),
    Kind.REAL: ("FLOAT", "DOUBLE", "REAL"),
    Kind.DECIMAL: ("NUMBER", "DECIMAL"),
    Kind.BOOLEAN: ("BOOLEAN",),
    Kind.TIMESTAMP: ("TIMESTAMP_TZ", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP"),
    Kind.JSON: ("VARIANT", "OBJECT", "ARRAY"),
}


@lru_cache(maxsize=1_000)
def table_of(event_type: EventType) -> BronzeTable:
    """The bronze table of an event type. Raises ConfigurationError where there cannot be such a table."""
    if event_type.table.upper().startswith(_RESERVED):
        raise ConfigurationError(
            f"the table of {event_type.name} is named {event_type.table}: names that begin with {_RESERVED} are taken;"
            " give the event type another table"
        )
    columns = (*METADATA, *columns_of(event_type.model))
    names = [*(column.name.upper() for column in columns), LANDED_AT]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(
            f"{event_type.model.__name__} of {event_type.name} has fields whose columns have the same name"
            f" {', '.join(doubled)} (case does not count in SQL, and {LANDED_AT} is the sink's): rename one of each"
        )
    if long := [name for name in (event_type.table, *names) if len(name) > _LONGEST]:
        raise ConfigurationError(f"{event_type.name}: {long[0]} is longer than the {_LONGEST} characters of a name")
    return BronzeTable(event_type, columns)


@lru_cache(maxsize=1_000)
def table_without(event_type: EventType, lacking: frozenset[str]) -> BronzeTable:
    """The same as `table_of`, of which these columns (in lower case) are not there yet."""
    table = table_of(event_type)
    return replace(table, columns=tuple(one for one in table.columns if one.name.lower() not in lacking))


def _in_utc(value: object) -> object:
    """An older table may have times without a zone, which are in UTC."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
