"""Bringing a database up to date: the migrations of sql/postgres, and the tables of the catalog."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from enum import StrEnum
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text, func, inspect, select, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

import flowguard
from flowguard.adapters.postgres.database import TIMEOUT_S, engine_of, named, url_of
from flowguard.adapters.postgres.errors import mapped
from flowguard.adapters.postgres.tables import FoundColumn, literal, quoted, table_of
from flowguard.domain.catalog import EventType
from flowguard.domain.errors import ConfigurationError, PermanentError
from flowguard.domain.migrations import Migration, numbered, pending

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_HOURS_S: Final = 12 * 3600.0
"""An index on a large table takes its time."""
_LOCK: Final = 0x666C6F77  # "flow": whoever migrates holds this advisory lock
_BOOKKEEPING: Final = Table(
    "fg_migrations",
    MetaData(),
    Column("part", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("applied_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
)


_HAS_LETTERS: Final = """
    SELECT EXISTS (SELECT FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid
    WHERE inhparent = to_regclass('fg_dead_letters') AND pg_get_expr(c.relpartbound, c.oid) = :bound)
"""


class Part(StrEnum):
    """What a database can hold; several parts may share one. The names are those of the folders in sql/postgres."""

    WAREHOUSE = "warehouse"
    DEAD_LETTERS = "dead_letters"
    ORDERS = "orders"


def migrate(
    url: str,
    parts: Collection[Part],
    event_types: Iterable[EventType] = (),
    *,
    dry_run: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> list[Migration]:
    """Bring the database up to date, all or nothing, and return what was applied, or would be with `dry_run`.

    With the part WAREHOUSE, each event type gets its bronze table, or the columns that its model has gained; with
    DEAD_LETTERS its table of dead letters. Processes that migrate at once wait for one another. Raises
    ConfigurationError (a migration was changed after it was applied, a newer FlowGuard was here, a table that cannot
    be brought up to date, missing rights), TransientError.
    """
    target = url_of(url)
    engine = engine_of(target, timeout_s, statement_timeout_s=_HOURS_S)
    try:
        with mapped(named(target)), closing(engine.connect()) as connection, connection.begin():
            require_utf8(connection)
            if not dry_run:
                connection.execute(text("SET LOCAL lock_timeout = 0"))  # others that migrate are waited for
                connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
                # A reader that keeps one table must not have everybody wait for those that are locked already.
                connection.execute(text(f"SET LOCAL lock_timeout = {timeout_s * 500:.0f}"))
                _BOOKKEEPING.create(connection, checkfirst=True)
            steps = list(_steps(connection, parts, list(event_types)))
            if not dry_run:
                for step in steps:
                    _apply(connection, step)
            return steps
    except PermanentError as error:  # a constraint or a type that rows of an older table do not keep
        raise ConfigurationError(f"{named(target)}: {error}: mend these rows, and migrate again") from error
    finally:
        engine.dispose()


def migrations_of(part: Part) -> list[Migration]:
    """The migrations of a part, in order. Raises ConfigurationError where the installation lacks them."""
    folder = _sql_folder() / part
    found = {one.name: one.read_text("utf-8") for one in (folder.iterdir() if folder.is_dir() else ())}
    scripts = {name: script for name, script in found.items() if name.endswith(".sql")}
    # The server takes a script as it is, inside of our transaction.
    return numbered(part, scripts, lambda script: (script.strip(),), folder)


def require_utf8(connection: Connection) -> None:
    """Raise ConfigurationError where the database cannot hold every text."""
    encoding = connection.execute(text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        raise ConfigurationError(f"the database has the encoding {encoding}, and UTF8 is needed: create another one")


def columns_in(connection: Connection, table: str) -> dict[str, FoundColumn]:
    """The columns of a table, in lower case; empty where there is no such table (nor a view of that name)."""
    found = connection.execute(
        text(
            "SELECT lower(attname), format_type(atttypid, atttypmod),"
            " attnotnull AND NOT atthasdef AND attidentity = '', EXISTS ("
            " SELECT FROM pg_index WHERE indrelid = attrelid AND indisunique AND indisvalid AND indimmediate"
            " AND indpred IS NULL AND indexprs IS NULL AND indnkeyatts = 1 AND indkey[0] = attnum) FROM pg_attribute"
            " WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        ),
        {"name": quoted(table)},
    )
    return {name: FoundColumn(*rest) for name, *rest in found}


def has_event_key(connection: Connection, table: str) -> bool:
    """Whether (producer_service, event_id) is unique in the table."""
    found = connection.execute(
        text(
            "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = to_regclass(:name) AND indisunique AND indisvalid"
            " AND indimmediate AND indpred IS NULL AND indexprs IS NULL AND indnkeyatts = 2 AND ("
            " SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute"
            " WHERE attrelid = indrelid AND attnum = ANY (indkey)) = ARRAY['event_id', 'producer_service'])"
        ),
        {"name": quoted(table)},
    )
    return bool(found.scalar())


def _sql_folder() -> Traversable:
    """sql/postgres: inside the package when installed from a wheel, beside src/ in a working copy."""
    packaged = files(flowguard) / "sql" / "postgres"
    return packaged if packaged.is_dir() else Path(flowguard.__file__).parents[2] / "sql" / "postgres"


def _steps(connection: Connection, parts: Collection[Part], event_types: list[EventType]) -> Iterator[Migration]:
    """What is not there yet. Nothing is changed by asking."""
    there = inspect(connection).has_table(_BOOKKEEPING.name)
    done: dict[str, dict[int, str]] = {}
    if there:
        columns = _BOOKKEEPING.c
        for part, number, checksum in connection.execute(select(columns.part, columns.number, columns.checksum)):
            done.setdefault(part, {})[number] = checksum
    for one in (one for one in Part if one in parts):
        yield from pending(migrations_of(one), done.get(one, {}))
    for event_type in event_types:
        if Part.WAREHOUSE in parts:
            table = table_of(event_type)
            found = columns_in(connection, event_type.table)
            event_key = has_event_key(connection, event_type.table)
            statements = table.additions(found, event_key=event_key) if found else table.definition()
            if statements:
                name = f"table {event_type.table}"
                what = "add columns" if found else "create"
                yield Migration(name, max(done.get(name, {0: ""})) + 1, what, tuple(statements))
        if Part.DEAD_LETTERS in parts:
            yield from _letters(connection, event_type, done)


def _letters(connection: Connection, event_type: EventType, done: dict[str, dict[int, str]]) -> Iterator[Migration]:
    topic = literal(event_type.topic)
    there = connection.execute(text(_HAS_LETTERS), {"bound": f"FOR VALUES IN ({topic})"}).scalar()
    if there:
        return
    name = free = letters_table(event_type)
    for number in count(2):  # an older topic of the event type may have it
        if not columns_in(connection, free):
            break
        free = f"{name}_{number}"
    create = f"CREATE TABLE {quoted(free)} PARTITION OF fg_dead_letters FOR VALUES IN ({topic})"
    part = f"table {free}"
    yield Migration(part, max(done.get(part, {0: ""})) + 1, "create", (create,))


def letters_table(event_type: EventType) -> str:
    """Where its dead letters rest: `clicks_dlq`. Raises ConfigurationError where the name is too long."""
    name = f"{event_type.table}_dlq"
    if len(name) > 60:  # noqa: PLR2004  # NAMEDATALEN, and room for a number
        raise ConfigurationError(f"{name} is too long for PostgreSQL: give {event_type.name} a shorter table")
    return name


def _apply(connection: Connection, migration: Migration) -> None:
    for statement in migration.statements:
        connection.exec_driver_sql(statement)
    connection.execute(
        _BOOKKEEPING.insert().values(
            part=migration.part, number=migration.number, name=migration.name, checksum=migration.checksum
        )
    )
