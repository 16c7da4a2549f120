"""What PostgreSQL says is told as what to do about it. Most of the errors are the server's own, provoked here."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from flowguard.adapters.postgres.database import Database
from flowguard.adapters.postgres.errors import state_of
from flowguard.domain.errors import ConfigurationError, FlowGuardError, PermanentError, TransientError
from flowguard.entrypoints.dev import free_ports
from tests.e2e.pipeline import wait_until
from tests.servers.postgres import Postgres

SECRET = "a password of ours"
HOLD, BLAME, ASK = TransientError, PermanentError, ConfigurationError
"""Try again; the row is at fault; a person has to mend something."""

TABLES = """
    CREATE TABLE parents (n int PRIMARY KEY);
    CREATE TABLE t (n int PRIMARY KEY CHECK (n > 0), parent int REFERENCES parents, short varchar(3));
    INSERT INTO t VALUES (1), (2);
"""
PROVOKED = [
    # SQLSTATE, what becomes of it, what provokes it, part of the text
    ("21000", BLAME, "SELECT (SELECT n FROM t)", "more than one row"),
    ("22001", BLAME, "INSERT INTO t VALUES (3, NULL, 'long')", "value too long"),
    ("22003", BLAME, "SELECT 2147483647 + 1", "out of range"),
    ("22007", BLAME, "SELECT 'yesterday or so'::timestamptz", "invalid input syntax"),
    ("22008", BLAME, "SELECT '294277-01-01'::timestamptz", "out of range"),
    ("22021", BLAME, "SELECT convert_from('\\xff', 'UTF8')", "invalid byte sequence"),
    ("22P02", BLAME, "SELECT 'x'::int", "invalid input syntax"),
    ("22P05", BLAME, """SELECT '"\\u0000"'::jsonb""", "unsupported Unicode escape"),
    ("23502", BLAME, "INSERT INTO t VALUES (NULL)", "null value"),
    ("23503", BLAME, "INSERT INTO t VALUES (3, 9)", "foreign key"),
    ("23505", BLAME, "INSERT INTO t VALUES (1)", "duplicate key"),
    ("23514", BLAME, "INSERT INTO t VALUES (-1)", "check constraint"),
    ("54001", BLAME, "SELECT repeat('[', 100000)::json", "stack depth"),
    ("0A000", ASK, "SELECT 1 FROM t GROUP BY n FOR UPDATE", "PostgreSQL 13 or newer"),
    ("3F000", ASK, "CREATE TABLE nowhere.t ()", "create it"),
    ("42501", ASK, "SELECT * FROM pg_authid", "grant what is missing to the user of the URL"),
    ("42703", ASK, "SELECT missing FROM t", "run `flowguard migrate`"),
    ("42P01", ASK, "SELECT * FROM missing", "run `flowguard migrate`"),
    ("42804", ASK, "INSERT INTO t SELECT now()", "run `flowguard migrate`"),
    ("25006", HOLD, "SET TRANSACTION READ ONLY; INSERT INTO t VALUES (3)", "is this a standby?"),
    ("57014", HOLD, "SET LOCAL statement_timeout = 1; SELECT pg_sleep(60)", "FLOWGUARD_DATABASE_TIMEOUT_S"),
    ("57P01", HOLD, "SELECT pg_terminate_backend(pg_backend_pid())", "somebody ended the connection"),
]
RAISED = [
    # What cannot be provoked at will, raised by a function of ours: the server says it as it would say its own.
    ("08006", HOLD),
    ("25P03", HOLD),
    ("40P01", HOLD),
    ("53000", HOLD),
    ("53100", HOLD),
    ("53200", HOLD),
    ("53300", HOLD),
    ("55006", HOLD),
    ("57P02", HOLD),
    ("57P03", HOLD),
    ("58030", HOLD),
    ("F0000", HOLD),
    ("XX000", HOLD),
    ("XX001", HOLD),
    ("3D000", ASK),
    ("44000", BLAME),
    ("54000", BLAME),
    ("ZZ123", HOLD),  # one that nobody knows blames nobody
]

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    url = postgres.fresh_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLES.encode())
    return url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with closing(Database(url, timeout_s=10)) as database:
        yield database


@pytest.mark.parametrize(("state", "kind", "statement", "part"), PROVOKED, ids=[one[0] for one in PROVOKED])
def test_errors_of_statements(
    database: Database, state: str, kind: type[FlowGuardError], statement: str, part: str
) -> None:
    assert told_of(database, state, statement, kind).count(part) == 1


@pytest.mark.parametrize(("state", "kind"), RAISED, ids=[one[0] for one in RAISED])
def test_errors_that_are_rare(database: Database, state: str, kind: type[FlowGuardError]) -> None:
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'rare' USING ERRCODE = '{state}'; END $$"
    assert "rare" in told_of(database, state, statement, kind)


def told_of(database: Database, state: str, statement: str, kind: type[FlowGuardError]) -> str:
    """What is told of the error that the statement raises, of which kind it has to be."""
    with pytest.raises(kind) as caught, database.transaction() as connection:
        connection.execute(statement.encode())
    assert caught.value.__cause__ is not None
    assert state_of(caught.value.__cause__) == state
    assert type(caught.value) is kind
    assert state in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    # The same connection, or another one, is fine for the next.
    with database.transaction() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    return str(caught.value)


def test_a_lock_that_is_not_to_be_had(url: str) -> None:
    with psycopg.connect(url) as other, closing(Database(url, timeout_s=0.4)) as database:
        other.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TransientError, match="a lock was not to be had.*55P03"), database.transaction() as ours:
            ours.execute("SELECT * FROM t")


def test_a_transaction_that_comes_too_late(url: str, database: Database) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        with (
            pytest.raises(TransientError, match="gave way to another transaction.*40001"),
            database.transaction() as ours,
        ):
            ours.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            ours.execute("SELECT * FROM t")
            other.execute("UPDATE t SET short = 'a' WHERE n = 1")
            ours.execute("UPDATE t SET short = 'b' WHERE n = 1")


def test_a_constraint_that_is_looked_at_on_commit(url: str, database: Database) -> None:
    """The server says that it did not commit: that is no unknown outcome."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(PermanentError, match="duplicate key.*23505"), database.transaction() as ours:
        ours.execute("INSERT INTO late VALUES (1), (1)")


def test_an_idle_transaction_is_ended(url: str) -> None:
    with closing(Database(url, timeout_s=60)) as database:
        with pytest.raises(TransientError, match="idle-in-transaction"), database.transaction() as ours:
            ours.execute("SET LOCAL idle_in_transaction_session_timeout = 1")
            pid = ours.info.backend_pid
            with psycopg.connect(url, autocommit=True) as other:
                gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
                wait_until(lambda: other.execute(gone, [pid]).fetchone() == (0,), "it is gone")
            ours.execute("SELECT 1")


@pytest.mark.parametrize(
    ("change", "kind", "part"),
    [
        pytest.param({"port": None}, HOLD, "cannot be reached", id="nobody there"),
        pytest.param({"host": "no-such-host.invalid"}, HOLD, "cannot be reached", id="no such host"),
        pytest.param({"username": "stranger"}, HOLD, "it refuses the credentials", id="no such role"),
        pytest.param({"username": "stranger", "password": SECRET}, HOLD, "it refuses the credentials", id="password"),
        pytest.param({"database": "missing"}, ASK, "there is no such database; create it", id="no such database"),
        pytest.param({"query": {"colour": "green"}}, ASK, "colour", id="no such parameter"),
    ],
)
def test_connecting(url: str, change: dict[str, Any], kind: type[FlowGuardError], part: str) -> None:
    if "port" in change:
        change = {"port": free_ports.some_free("127.0.0.1")}
    target = make_url(url).set(**change).render_as_string(hide_password=False)
    with closing(Database(target, timeout_s=5)) as database:
        with pytest.raises(kind) as caught, database.transaction():
            pass
    assert type(caught.value) is kind
    assert part in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_too_many_connections(url: str) -> None:
    name = make_url(url).database
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0".encode())
        try:
            with closing(Database(url, timeout_s=5)) as database:
                with pytest.raises(TransientError, match="no connection left; raise max_connections"):
                    one_of(database)
        finally:
            connection.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1".encode())


def one_of(database: Database) -> object:
    with database.transaction() as ours:
        return ours.execute("SELECT 1").fetchone()


def test_what_the_driver_refuses_to_send(database: Database) -> None:
    with pytest.raises(PermanentError, match="NUL"), database.transaction() as ours:
        ours.execute("SELECT %s", ["a\0b"])


def test_a_connection_that_broke(database: Database) -> None:
    with pytest.raises(TransientError, match="connection"), database.transaction() as ours:
        with suppress(psycopg.Error), socket.socket(fileno=os.dup(ours.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)
        ours.execute("SELECT 1")
    with database.transaction() as ours:
        assert ours.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_that_died_while_nobody_used_it(url: str, database: Database) -> None:
    with database.transaction() as ours:
        pid = ours.info.backend_pid
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 30000)", [pid])
    with database.transaction() as ours:
        assert ours.info.backend_pid != pid
