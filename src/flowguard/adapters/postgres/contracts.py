"""What schema contracts need of PostgreSQL: which columns a table has, and adding some."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Final

from psycopg import errors

from flowguard.adapters.postgres.database import Database
from flowguard.adapters.postgres.tables import quoted, table_of
from flowguard.domain.catalog import EventType, SchemaContract
from flowguard.domain.contracts import SchemaContracts
from flowguard.domain.errors import ConfigurationError

_COLUMNS: Final = """
    SELECT lower(attname), format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""
_OWNED: Final = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass(%s)"


def contracts_on(database: Database, default: SchemaContract) -> SchemaContracts:
    """The contracts of one sink, whose tables are in this database."""
    return SchemaContracts(default, partial(_columns, database), partial(_add, database))


def require_evolvable(database: Database, event_type: EventType, missing: Collection[str]) -> None:
    """Raise ConfigurationError where columns could not be added."""
    with database.transaction() as connection:
        found = connection.execute(_OWNED, [quoted(event_type.table)]).fetchone()
    if found is not None and not found[0]:
        raise _forbidden(database, event_type, missing)


def table_was_changed(error: BaseException) -> bool:
    """Whether the server did not know a column, or knew it by another type."""
    return isinstance(error.__cause__, errors.UndefinedColumn | errors.InvalidBinaryRepresentation)


def _columns(database: Database, event_type: EventType) -> Collection[str]:
    with database.transaction() as connection:
        found = dict(connection.execute(_COLUMNS, [quoted(event_type.table)]).fetchall())
    # A type that is not the model's is no row's fault.
    table_of(event_type).require_types(found)
    return found.keys()


def _add(database: Database, event_type: EventType, missing: Collection[str]) -> None:
    table = table_of(event_type)
    try:
        with database.evicting(), database.transaction() as connection:
            for name in sorted(missing):
                connection.execute(table.add_column(name))
    except ConfigurationError as error:
        if isinstance(error.__cause__, errors.InsufficientPrivilege):
            raise _forbidden(database, event_type, missing) from error
        raise


def _forbidden(database: Database, event_type: EventType, missing: Collection[str]) -> ConfigurationError:
    return ConfigurationError(
        f"{database.where}: table {event_type.table} lacks {', '.join(sorted(missing))}, and the user of the URL may"
        " not add columns to it: run `flowguard migrate` with a role that may, or set a schema_contract other than"
        " evolve"
    )
