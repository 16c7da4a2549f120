"""What schema contracts need of Snowflake: which columns a table has, and adding some."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from flowguard.adapters.snowflake.database import Database, Session
from flowguard.adapters.snowflake.errors import FORBIDDEN, number_of
from flowguard.adapters.snowflake.tables import FoundColumn, table_of
from flowguard.domain.catalog import EventType, SchemaContract
from flowguard.domain.contracts import SchemaContracts
from flowguard.domain.errors import ConfigurationError

_CHANGED = (904, 2023)
"""An unknown column, and one of another type than the values that are given for it."""


def contracts_on(database: Database, default: SchemaContract) -> SchemaContracts:
    """The contracts of one sink, whose tables are in this schema."""
    return SchemaContracts(default, partial(_columns, database), partial(_add, database))


def table_was_changed(error: BaseException) -> bool:
    """Whether the server did not know a column, or knew it by another type."""
    return error.__cause__ is not None and number_of(error.__cause__) in _CHANGED


def columns_in(session: Session, table: str) -> dict[str, FoundColumn]:
    """The columns of a table by name in upper case; empty where there is no such table."""
    found = session.rows(
        "SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE, COLUMN_DEFAULT, IS_IDENTITY, CHARACTER_MAXIMUM_LENGTH,"
        " NUMERIC_PRECISION, NUMERIC_SCALE FROM INFORMATION_SCHEMA.COLUMNS"
        " WHERE TABLE_SCHEMA = CURRENT_SCHEMA() AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
        table.upper(),
    )
    return {
        name.upper(): FoundColumn(
            kind, nullable == "NO" and default is None and identity != "YES", *map(_number, (length, precision, scale))
        )
        for name, kind, nullable, default, identity, length, precision, scale in found
    }


def _number(value: object) -> int | None:
    return None if value is None else int(str(value))


def _columns(database: Database, event_type: EventType) -> Collection[str]:
    with database.transaction() as session:
        found = columns_in(session, event_type.table)
    table = table_of(event_type)
    table.require_types(found)
    table.require_scales(found)
    return {name.lower() for name in found}


def _add(database: Database, event_type: EventType, missing: Collection[str]) -> None:
    table = table_of(event_type)
    try:
        with database.transaction() as session:
            for name in sorted(missing):
                session.change(table.add_column(name))
    except ConfigurationError as error:
        if error.__cause__ is not None and number_of(error.__cause__) == FORBIDDEN:
            raise ConfigurationError(
                f"{database.where}: table {event_type.table.upper()} lacks {', '.join(sorted(missing))}, and the role"
                " may not add columns to it: run `flowguard migrate` with a role that may, or set a schema_contract"
                " other than evolve"
            ) from error
        raise
