"""Bringing a file up to date: the migrations of sql/sqlite, and the tables of the catalog."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from time import monotonic, sleep

import flowguard
from flowguard.adapters.sqlite.database import BUSY_TIMEOUT_S, connect, made_durable
from flowguard.adapters.sqlite.errors import code_of, mapped
from flowguard.adapters.sqlite.tables import table_of
from flowguard.domain.catalog import EventType
from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.domain.migrations import Migration, numbered, pending

_BOOKKEEPING = """CREATE TABLE IF NOT EXISTS fg_migrations (
  part TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at TEXT NOT NULL,
  PRIMARY KEY (part, number)
) WITHOUT ROWID"""


class Part(StrEnum):
    """What a file can hold; several parts may share one file. The names are those of the folders in sql/sqlite."""

    LOG = "log"
    WAREHOUSE = "warehouse"
    DEAD_LETTERS = "dead_letters"


def migrate(
    path: Path,
    parts: Collection[Part],
    event_types: Iterable[EventType] = (),
    *,
    dry_run: bool = False,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
) -> list[Migration]:
    """Bring the file up to date, all or nothing, and return what was applied, or would be with `dry_run`.

    Makes the file and its folder where there are none. With the part WAREHOUSE, each event type gets its bronze table,
    or the columns that its model has gained. Processes that migrate at once wait for one another. Raises
    ConfigurationError (a migration was changed after it was applied, a newer FlowGuard was here, a table that cannot
    be brought up to date), TransientError.
    """
    exists = path.exists()
    if not dry_run and not exists:
        made_durable(path.parent)
    with mapped(path), closing(_connection(path, busy_timeout_s, dry_run=dry_run, exists=exists)) as connection:
        if not dry_run:
            _set_up(connection, busy_timeout_s)
        connection.execute("BEGIN IMMEDIATE")
        try:
            applied = [*_files(connection, parts)]
            if Part.WAREHOUSE in parts:
                applied += _tables(connection, event_types)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("ROLLBACK" if dry_run else "COMMIT")
    return applied


def migrations_of(part: Part) -> list[Migration]:
    """The migrations of a part, in order. Raises ConfigurationError where the installation lacks them."""
    folder = _sql_folder() / part
    files = {one.name: one.read_text("utf-8") for one in (folder.iterdir() if folder.is_dir() else ())}
    return numbered(part, {name: text for name, text in files.items() if name.endswith(".sql")}, statements_of, folder)


def statements_of(script: str) -> Iterator[str]:
    """The statements of a script, one by one: the driver would run a whole script outside of our transaction."""
    statement = ""
    for line in script.splitlines():
        if statement or (line.strip() and not line.lstrip().startswith("--")):
            statement += line + "\n"
        if statement and sqlite3.complete_statement(statement):
            yield statement.strip().removesuffix(";")
            statement = ""
    if statement.strip():
        raise ConfigurationError(f"a migration ends in the middle of a statement: {statement.strip()[:60]}")


def _sql_folder() -> Traversable:
    """sql/sqlite: inside the package when installed from a wheel, beside src/ in a working copy."""
    packaged = files(flowguard) / "sql" / "sqlite"
    return packaged if packaged.is_dir() else Path(flowguard.__file__).parents[2] / "sql" / "sqlite"


def _connection(path: Path, busy_timeout_s: float, *, dry_run: bool, exists: bool) -> sqlite3.Connection:
    if dry_run and not exists:
        return sqlite3.connect(":memory:", isolation_level=None)
    return connect(path, "rw" if dry_run else "rwc", busy_timeout_s)


def _set_up(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    """Have a write-ahead log. sqlite does not wait for its lock here, so we do."""
    deadline = monotonic() + busy_timeout_s
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
            sleep(0.01)
        else:
            if mode != "wal":
                raise TransientError(f"a write-ahead log cannot be had here (journal_mode is {mode})")
            return


def _files(connection: sqlite3.Connection, parts: Collection[Part]) -> Iterator[Migration]:
    connection.execute(_BOOKKEEPING)
    for part in (one for one in Part if one in parts):
        applied = dict(
            connection.execute("SELECT number, checksum FROM fg_migrations WHERE part = ?", (part,)).fetchall()
        )
        for migration in pending(migrations_of(part), applied):
            _apply(connection, migration)
            yield migration


def _tables(connection: sqlite3.Connection, event_types: Iterable[EventType]) -> Iterator[Migration]:
    for event_type in event_types:
        table = table_of(event_type)
        found = {
            name.lower(): kind
            for _, name, kind, *_ in connection.execute(f"PRAGMA table_info({table.name})").fetchall()
        }
        statements = table.additions(found) if found else table.definition()
        if statements:
            part = f"table {event_type.table}"
            (done,) = connection.execute("SELECT count(*) FROM fg_migrations WHERE part = ?", (part,)).fetchone()
            what = "add columns" if found else "create"
            migration = Migration(part, done + 1, what, tuple(statements))
            _apply(connection, migration)
            yield migration


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    for statement in migration.statements:
        connection.execute(statement)
    connection.execute(
        "INSERT INTO fg_migrations VALUES (?, ?, ?, ?, ?)",
        (
            migration.part,
            migration.number,
            migration.name,
            migration.checksum,
            datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )
