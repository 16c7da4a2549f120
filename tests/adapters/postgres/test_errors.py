"""What PostgreSQL says is told as what to do about it. Most of the errors are the server's own, provoked here."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import Connection
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
    assert part in told(database, kind, statement, state=state)


@pytest.mark.parametrize(("state", "kind"), RAISED, ids=[one[0] for one in RAISED])
def test_errors_that_are_rare(database: Database, state: str, kind: type[FlowGuardError]) -> None:
    raised = f"DO $$ BEGIN RAISE EXCEPTION 'rare' USING ERRCODE = '{state}'; END $$"
    assert "rare" in told(database, kind, raised, state=state)


def test_a_lock_that_is_not_to_be_had(url: str) -> None:
    with psycopg.connect(url) as other, closing(Database(url, timeout_s=0.4)) as database:
        other.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        assert "a lock was not to be had" in told(database, HOLD, "SELECT * FROM t", state="55P03")


def test_a_transaction_that_comes_too_late(url: str, database: Database) -> None:
    def another_one(_: Connection[Any]) -> None:
        with psycopg.connect(url) as other:
            other.execute("UPDATE t SET short = 'a' WHERE n = 1")

    steps = (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT * FROM t",
        another_one,
        "UPDATE t SET short = 'b' WHERE n = 1",
    )
    assert "gave way to another transaction" in told(database, HOLD, *steps, state="40001")


def test_a_constraint_that_is_looked_at_on_commit(url: str, database: Database) -> None:
    """The server says that it did not commit: that is no unknown outcome."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    assert "duplicate key" in told(database, BLAME, "INSERT INTO late VALUES (1), (1)", state="23505")


def test_an_idle_transaction_is_ended(url: str, database: Database) -> None:
    def wait_for_the_end(connection: Connection[Any]) -> None:
        count = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
        with psycopg.connect(url, autocommit=True) as other:
            pid = connection.info.backend_pid
            wait_until(lambda: other.execute(count, [pid]).fetchone() == (0,), "it is gone")

    steps = ("SET LOCAL idle_in_transaction_session_timeout = 1", wait_for_the_end, "SELECT 1")
    assert "idle-in-transaction" in told(database, HOLD, *steps, state="25P03")


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
        text = told(database, kind)
    assert part in text
    assert SECRET not in text


def test_too_many_connections(url: str) -> None:
    limit = f"ALTER DATABASE {make_url(url).database} CONNECTION LIMIT"
    with psycopg.connect(url, autocommit=True) as connection, closing(Database(url, timeout_s=5)) as database:
        connection.execute(f"{limit} 0".encode())
        try:
            assert "it has no connection left; raise max_connections" in told(database, HOLD)
        finally:
            connection.execute(f"{limit} -1".encode())
        use(database)


def test_what_the_driver_refuses_to_send(database: Database) -> None:
    assert "NUL" in told(database, BLAME, lambda connection: connection.execute("SELECT %s", ["a\0b"]))
    use(database)


def test_a_connection_that_broke(database: Database) -> None:
    def cut(connection: Connection[Any]) -> None:
        with socket.socket(fileno=os.dup(connection.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)

    assert "the connection broke" in told(database, HOLD, cut, "SELECT 1")
    use(database)


def test_a_connection_that_died_while_nobody_used_it(url: str, database: Database) -> None:
    before = use(database)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 30000)", [before])
    assert use(database) != before


def test_a_connection_to_a_server_that_is_read_only_now_is_not_kept(database: Database) -> None:
    """After a failover the same address, asked anew, leads to the server that takes writes."""
    before = use(database)
    told(database, HOLD, "SET TRANSACTION READ ONLY", "INSERT INTO t VALUES (3)", state="25006")
    assert use(database) != before


def use(database: Database, *steps: str | Callable[[Connection[Any]], object]) -> int:
    """One transaction of statements and other acts; the pid of its backend."""
    with database.transaction() as connection:
        pid = connection.info.backend_pid
        for step in steps:
            if callable(step):
                step(connection)
            else:
                connection.execute(step.encode())
    return pid


def told(
    database: Database,
    kind: type[FlowGuardError],
    *steps: str | Callable[[Connection[Any]], object],
    state: str | None = None,
) -> str:
    """What is said of the error that a transaction of these ends with, which has to be of this kind and code."""
    with pytest.raises(kind) as caught:
        use(database, *steps)
    error = caught.value
    assert type(error) is kind
    assert error.__cause__ is not None
    assert state_of(error.__cause__) == state
    assert state is None or state in str(error)
    assert len(str(error).splitlines()) == 1
    return str(error)
