"""Whether the role may write. Snowflake tells by a statement only: these change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flowguard.adapters.snowflake.database import Database
from flowguard.adapters.snowflake.errors import FORBIDDEN, number_of
from flowguard.adapters.snowflake.tables import BronzeTable
from flowguard.domain.errors import ConfigurationError

_OWN: Final = ("FG_POSITIONS", "FG_INCARNATIONS", "FG_ABSORBED")


def require_rights(database: Database, tables: Iterable[BronzeTable]) -> None:
    """Raise ConfigurationError, with the table and the right, where rows could not be written to one of the tables.

    Waits for the turn of a writer, and raises TransientError where that takes too long.
    """
    asked = [
        *(
            ("INSERT", table, f"INSERT INTO {table} SELECT * FROM {table} WHERE FALSE")
            for table in (*_OWN, *(one.name for one in tables))
        ),
        ("UPDATE", "FG_POSITIONS", "UPDATE FG_POSITIONS SET EPOCH = EPOCH WHERE FALSE"),
    ]
    right = name = ""
    try:
        with database.transaction() as session:
            for right, name, statement in asked:  # noqa: B007  # told below
                session.change(statement)
    except ConfigurationError as error:
        if error.__cause__ is not None and number_of(error.__cause__) == FORBIDDEN:
            raise ConfigurationError(
                f"{database.where}: the role lacks {right} on {name}: GRANT {right} ON TABLE {name} TO it"
            ) from error
        raise
