"""Bringing a schema up to date: the migrations of sql/snowflake, and the tables of the catalog.

Each DDL statement commits by itself in Snowflake. So each step says what it is before and after (FG_MIGRATIONS), and
every statement of a step is harmless where it was carried out before a break.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import flowguard
from flowguard.adapters.snowflake.contracts import columns_in
from flowguard.adapters.snowflake.database import QUERY_TIMEOUT_S, TIMEOUT_S, Database, Session
from flowguard.adapters.snowflake.dead_letters import definition
from flowguard.adapters.snowflake.tables import table_of
from flowguard.domain.catalog import EventType
from flowguard.domain.errors import ConfigurationError, PermanentError
from flowguard.domain.migrations import Migration, numbered, pending

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_BOOKKEEPING: Final = (
    "CREATE TABLE IF NOT EXISTS FG_MIGRATIONS (PART VARCHAR NOT NULL, NUMBER NUMBER(38, 0) NOT NULL,"
    " NAME VARCHAR NOT NULL, CHECKSUM VARCHAR NOT NULL, APPLIED_AT TIMESTAMP_TZ NOT NULL)"
)


class Part(StrEnum):
    """What a schema can hold; for each there is a folder in sql/snowflake, whose migrations come first."""

    WAREHOUSE = "warehouse"
    DEAD_LETTERS = "dead_letters"


def migrate(
    url: str,
    parts: Collection[Part],
    event_types: Iterable[EventType] = (),
    *,
    dry_run: bool = False,
    timeout_s: float = TIMEOUT_S,
    query_timeout_s: float = QUERY_TIMEOUT_S,
) -> list[Migration]:
    """Bring the schema up to date, and return what was applied, or would be with `dry_run`.

    With the part WAREHOUSE, each event type gets its bronze table, or the columns that its model has gained; with
    DEAD_LETTERS its table of dead letters. Raises ConfigurationError (a migration was changed after it was applied, a
    newer FlowGuard was here, a table that cannot be brought up to date, a default collation, missing rights),
    TransientError.
    """
    with closing(Database(url, timeout_s=timeout_s, query_timeout_s=query_timeout_s)) as database:
        with database.transaction() as session:
            if steps := list(_steps(session, parts, list(event_types))):
                _require_no_collation(session, database.where)
        if steps and not dry_run:  # whoever may make no tables may find that all are there
            with database.transaction() as session:
                session.change(_BOOKKEEPING)
            try:
                for step in steps:
                    _apply(database, step)
            except PermanentError as error:  # rows of an older table that the new type does not hold
                raise ConfigurationError(f"{database.where}: {error}: mend these rows, and migrate again") from error
        return steps


def _require_no_collation(session: Session, where: str) -> None:
    """Raise ConfigurationError where new columns would take two ids for one that differ in case, or in a blank."""
    # Columns have it from their schema. COLLATE '' of a column is not documented to undo that, and one that has another
    # collation, if it be of bytes, is refused by Snowpipe Streaming.
    for _, collation, *_ in session.rows("SHOW PARAMETERS LIKE 'DEFAULT_DDL_COLLATION' IN SCHEMA"):
        if collation:
            raise ConfigurationError(
                f"{where}: DEFAULT_DDL_COLLATION is {collation!r} there, and ids have to be compared byte by byte:"
                " ALTER SCHEMA ... SET DEFAULT_DDL_COLLATION = '', or use a schema that has none"
            )


def _apply(database: Database, step: Migration) -> None:
    with database.transaction() as session:
        for statement in step.statements:
            if not statement.startswith("SELECT"):
                session.change(statement)
                continue
            ((lost,),) = session.rows(statement)
            if lost:
                raise ConfigurationError(
                    f"{database.where}: {step.name}: somebody has written {lost} rows to the old column meanwhile, and"
                    " they would lose their value: stop who writes, and migrate again"
                )
        session.change(
            "INSERT INTO FG_MIGRATIONS SELECT ?, ?, ?, ?, CURRENT_TIMESTAMP()",
            step.part, step.number, step.name, step.checksum,
        )  # fmt: skip


def migrations_of(part: Part) -> list[Migration]:
    """The migrations of a part, in order. Raises ConfigurationError where the installation lacks them."""
    folder = _sql_folder() / part
    found = {one.name: one.read_text("utf-8") for one in (folder.iterdir() if folder.is_dir() else ())}
    scripts = {name: script for name, script in found.items() if name.endswith(".sql")}
    return numbered(part, scripts, _statements, folder)


def _statements(script: str) -> Iterator[str]:
    """One request takes one statement. No text in our scripts holds a semicolon at the end of a line."""
    lines = [line for line in script.splitlines() if not line.lstrip().startswith("--")]
    for statement in "\n".join(lines).split(";\n"):
        if text := statement.strip().rstrip(";"):
            yield text


def _sql_folder() -> Traversable:
    """sql/snowflake: inside the package when installed from a wheel, beside src/ in a working copy."""
    packaged = files(flowguard) / "sql" / "snowflake"
    return packaged if packaged.is_dir() else Path(flowguard.__file__).parents[2] / "sql" / "snowflake"


def _steps(session: Session, parts: Collection[Part], event_types: list[EventType]) -> Iterator[Migration]:
    """What is not there yet. Nothing is changed by asking."""
    done: dict[str, dict[int, str]] = {}
    if columns_in(session, "FG_MIGRATIONS"):
        for part, number, checksum in session.rows("SELECT PART, NUMBER, CHECKSUM FROM FG_MIGRATIONS"):
            done.setdefault(part, {})[number] = checksum
    for one in (one for one in Part if one in parts):
        yield from pending(migrations_of(one), done.get(one, {}))
    for event_type in event_types:
        if Part.WAREHOUSE in parts:
            table = table_of(event_type)
            found = columns_in(session, event_type.table)
            if statements := table.additions(found) if found else table.definition():
                name = f"table {event_type.table}"
                what = "add columns" if found else "create"
                yield Migration(name, max(done.get(name, {0: ""})) + 1, what, tuple(statements))
        if Part.DEAD_LETTERS in parts and not columns_in(session, f"{event_type.table}_dlq"):
            yield Migration(f"table {event_type.table}_dlq", 1, "create", (definition(event_type),))
