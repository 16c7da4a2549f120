"""What schema contracts need of sqlite: which columns a table has, and adding some."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from functools import partial

from flowguard.adapters.sqlite.database import Database
from flowguard.adapters.sqlite.tables import BronzeTable, table_of
from flowguard.domain.catalog import EventType, SchemaContract
from flowguard.domain.contracts import SchemaContracts


def contracts_on(database: Database, default: SchemaContract) -> SchemaContracts:
    """The contracts of one sink, whose tables are in this database."""
    return SchemaContracts(default, partial(_columns, database), partial(_add, database))


def column_was_missing(error: BaseException) -> bool:
    """Whether sqlite did not know a column: it has no code of its own for that."""
    text = str(error.__cause__)
    return isinstance(error.__cause__, sqlite3.Error) and ("no such column" in text or "has no column" in text)


def _columns(database: Database, event_type: EventType) -> set[str]:
    with database.use() as connection:
        return _found(connection, table_of(event_type))


def _add(database: Database, event_type: EventType, missing: Collection[str]) -> None:
    table = table_of(event_type)
    with database.transaction() as connection:
        for name in sorted({*missing} - _found(connection, table)):
            connection.execute(table.add_column(name))


def _found(connection: sqlite3.Connection, table: BronzeTable) -> set[str]:
    return {name.lower() for _, name, *_ in connection.execute(f"PRAGMA table_info({table.name})").fetchall()}
