"""What Snowflake says is told as what to do about it: its errors, as the connector hands them on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from snowflake.connector import errors as sf
from sqlalchemy import make_url

from flowguard.adapters.snowflake.database import Database
from flowguard.adapters.snowflake.errors import breaks_session, number_of, translated
from flowguard.domain.errors import (
    ConfigurationError,
    FlowGuardError,
    PermanentError,
    TransientError,
    UnknownOutcomeError,
)
from flowguard.entrypoints.dev import free_ports
from tests.servers.snowflake import Faults

SECRET = "a password of ours"
HOLD, BLAME, ASK = TransientError, PermanentError, ConfigurationError
"""Try again; the row is at fault; a person has to mend something."""

pytestmark = pytest.mark.snowflake

ANSWERS = [
    # Number, SQLSTATE, what becomes of it, part of the text; the session goes on after all of them.
    (604, "57014", HOLD, "FLOWGUARD_SNOWFLAKE_QUERY_TIMEOUT_S"),
    (625, "57014", HOLD, "a lock was not to be had: too many consumers, or one that vanished"),
    (630, "57014", HOLD, "longer than the account allows"),
    (90073, "57P03", HOLD, "its warehouse cannot be resumed"),
    (606, "57P03", ASK, "the URL names no warehouse; add ?warehouse="),
    (904, "42000", ASK, "run `flowguard migrate`"),
    (1003, "42000", ASK, "run `flowguard migrate`"),
    (2003, "42S02", ASK, "there is no such table, or the role may not use it"),
    (2023, "22000", ASK, "a column has another type than FlowGuard's"),
    (2043, "02000", ASK, "there is no such object"),
    (3001, "42501", ASK, "grant it what `docs/guide/snowflake.md` lists"),
    (100035, "22007", BLAME, "told by the server"),
    (100038, "22018", BLAME, "told by the server"),
    (100039, "22003", BLAME, "told by the server"),
    (100040, "22007", BLAME, "told by the server"),
    (100046, "22003", BLAME, "told by the server"),
    (100069, "22P02", BLAME, "told by the server"),
    (100071, "22000", BLAME, "told by the server"),
    (100072, "22000", BLAME, "told by the server"),
    (100078, "22000", BLAME, "told by the server"),
    (100082, "22000", BLAME, "told by the server"),
    (100090, "42P18", BLAME, "told by the server"),
    (100132, "P0000", BLAME, "told by the server"),
    (100145, "54000", BLAME, "told by the server"),
    # Numbers that are not known here: the class of the SQLSTATE decides, and what nobody knows blames nobody.
    (100999, "22023", BLAME, "told by the server"),
    (100999, "23505", BLAME, "told by the server"),
    (2999, "42601", ASK, "run `flowguard migrate`"),
    (2999, "02000", ASK, "run `flowguard migrate`"),
    (999998, "ZZ123", HOLD, "told by the server"),
]
LOGINS = [
    (390100, ASK, "it refuses the credentials; check user, key or token of the URL"),
    (390101, ASK, "it refuses the credentials"),
    (390102, ASK, "the user is locked out"),
    (390144, ASK, "it refuses the credentials"),
    (390189, ASK, "there is no such role"),
    (390201, ASK, "there is no such database, schema or warehouse"),
    (390303, ASK, "it refuses the credentials"),
    (390318, ASK, "it refuses the credentials"),
    (390422, ASK, "its network policy does not let this address in"),
]
LOGIN = "250001 (08001): Failed to login: "
DRIVERS = [
    # The connector's own, of a server that is not there.
    (sf.OperationalError(msg="late", errno=4), HOLD, "it did not answer in time"),
    (sf.OperationalError(msg="late", errno=14, sqlstate="HYT00"), HOLD, "it did not answer in time"),
    (sf.DatabaseError(msg="gone", errno=250001, sqlstate="08001"), HOLD, "it cannot be reached"),
    (sf.OperationalError(msg="gone", errno=250003), HOLD, "it cannot be reached"),
    (sf.OperationalError(msg="gone", errno=251011), HOLD, "it cannot be reached"),
    (sf.InterfaceError(msg="never heard of"), HOLD, "never heard of"),
    (
        sf.DatabaseError(msg=LOGIN + "Authentication failed. Unspecified", errno=250001),
        ASK,
        "it refuses the credentials",
    ),
    (
        sf.DatabaseError(msg=LOGIN + "Login error: JWT token is invalid., code: 390144", errno=250001),
        ASK,
        "it refuses the credentials",
    ),
    (
        sf.DatabaseError(
            msg=LOGIN + "Invalid Snowflake response. Snowflake responded with error status: 407 Proxy Authentication"
            " Required, message: Unexpected response, body length 29.",
            errno=250001,
        ),
        HOLD,
        "it cannot be reached",
    ),
    (
        sf.DatabaseError(msg=LOGIN + "error sending request: the proxy wants a password", errno=250001),
        HOLD,
        "it cannot be reached",
    ),
    (
        sf.ProgrammingError(msg="Configuration error: authenticator: Invalid authenticator 'x'", errno=251007),
        ASK,
        "look at the URL",
    ),
    (sf.ProgrammingError(msg="the session is gone", errno=390111), HOLD, "the session is gone"),
    (sf.ProgrammingError(msg="expired", errno=390114), HOLD, "the session has expired"),
    (sf.ProgrammingError(msg="expired", errno=390195), HOLD, "the session has expired"),
]


def _encrypted_key(passphrase: bytes) -> str:
    return (
        rsa.generate_private_key(65537, 2048)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase),
        )
        .decode()
    )


@pytest.fixture
def database(faulty_url: str) -> Iterator[Database]:
    with closing(Database(faulty_url, timeout_s=2, query_timeout_s=3)) as database:
        yield database


def use(database: Database, statement: str = "SELECT 'ours'") -> int:
    """One transaction; which of the database's connections it had."""
    with database.transaction() as session:
        session.rows(statement)
    return database.connections


def told(database: Database, kind: type[FlowGuardError], number: int | None) -> str:
    """What is said of the error that a transaction ends with, which has to be of this kind and number."""
    with pytest.raises(kind) as caught:
        use(database)
    error = caught.value
    assert type(error) is kind
    assert error.__cause__ is not None
    assert number is None or number_of(error.__cause__) == number
    assert len(str(error).splitlines()) == 1
    return str(error)


@pytest.mark.parametrize(("number", "state", "kind", "part"), ANSWERS, ids=[f"{one[0]}-{one[1]}" for one in ANSWERS])
def test_answers_to_statements(
    database: Database, faults: Faults, number: int, state: str, kind: type[FlowGuardError], part: str
) -> None:
    before = use(database)
    fault = faults.set("error", "'ours'", errno=f"{number:06}", sqlstate=state, message="told by the server", times=1)
    assert part in told(database, kind, number)
    assert faults.fired(fault) == 1
    assert use(database) == before  # its session goes on


@pytest.mark.parametrize(("number", "kind", "part"), LOGINS, ids=[str(one[0]) for one in LOGINS])
def test_logins_that_are_refused(
    database: Database, faults: Faults, number: int, kind: type[FlowGuardError], part: str
) -> None:
    fault = faults.set("error", at="login", errno=str(number), message="told by the server")
    assert part in told(database, kind, None)
    assert faults.fired(fault)
    faults.lift(fault)
    use(database)


@pytest.mark.parametrize(
    ("error", "kind", "part"), DRIVERS, ids=[f"{type(one).__name__}-{number_of(one)}" for one, *_ in DRIVERS]
)
def test_errors_of_the_driver(error: sf.Error, kind: type[FlowGuardError], part: str) -> None:
    made = translated(error, "snowflake://account/db/schema")
    assert type(made) is kind
    assert part in str(made)
    assert breaks_session(error)


def test_a_session_that_expired(database: Database, faults: Faults) -> None:
    """Where its token cannot be renewed, the next use has another."""
    before = use(database)
    expired, _ = faults.expire_sessions()
    assert "session" in told(database, HOLD, None)
    assert faults.fired(expired) == 1
    assert use(database) == before + 1


def test_a_token_that_can_be_renewed(database: Database, faults: Faults) -> None:
    """Nobody notices."""
    before = use(database)
    expired = faults.set("error", errno="390112", message="Your session has expired.", times=1)
    assert use(database) == before
    assert faults.fired(expired) == 1


@pytest.mark.parametrize("what", ["cut_before", "cut_after"])
def test_a_connection_that_breaks_in_a_statement(database: Database, faults: Faults, what: str) -> None:
    before = use(database)
    cut = faults.set(what, "'ours'", times=1)
    told(database, HOLD, None)
    assert faults.fired(cut) == 1
    assert use(database) == before + 1


def test_an_outcome_that_nobody_knows(database: Database, faults: Faults) -> None:
    use(database, "CREATE TABLE t (n int)")
    cut = faults.set("cut_after", "COMMIT", times=1)
    with pytest.raises(UnknownOutcomeError, match="it may or may not have been stored"):
        use(database, "INSERT INTO t SELECT 1")
    assert faults.fired(cut) == 1
    with database.transaction() as session:
        assert session.rows("SELECT count(*) FROM t") == [(1,)]


def test_a_commit_that_is_refused_is_no_unknown_outcome(database: Database, faults: Faults) -> None:
    use(database, "CREATE TABLE t (n int)")
    refused = faults.set("error", "COMMIT", errno="000625", sqlstate="57014", times=1)
    with pytest.raises(TransientError, match="a lock was not to be had") as caught:
        use(database, "INSERT INTO t SELECT 1")
    assert not isinstance(caught.value, UnknownOutcomeError)
    assert faults.fired(refused) == 1
    with database.transaction() as session:
        assert session.rows("SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize(
    ("key", "passphrase"),
    [("no key at all", ""), (_encrypted_key(b"right"), ""), (_encrypted_key(b"right"), "wrong")],
    ids=["no key", "no passphrase", "another passphrase"],
)
def test_a_key_that_cannot_be_read(faulty_url: str, tmp_path: Path, key: str, passphrase: str) -> None:
    file = tmp_path / "key.p8"
    file.write_text(key)
    url = make_url(faulty_url).update_query_dict({"private_key_file": str(file)})
    if passphrase:
        url = url.update_query_dict({"private_key_file_pwd": passphrase})
    with closing(Database(url.render_as_string(hide_password=False), timeout_s=2)) as database:
        assert "check user, key or token of the URL" in told(database, ASK, 250001)


def test_an_encrypted_key_is_opened_by_its_passphrase(faulty_url: str, tmp_path: Path) -> None:
    file = tmp_path / "key.p8"
    file.write_text(_encrypted_key(b"a&b"))
    url = make_url(faulty_url).update_query_dict({"private_key_file": str(file), "private_key_file_pwd": "a&b"})
    with closing(Database(url.render_as_string(hide_password=False), timeout_s=5)) as database:
        use(database)


def test_an_authenticator_that_there_is_not(faulty_url: str) -> None:
    url = make_url(faulty_url).update_query_dict({"authenticator": "by_magic"})
    with closing(Database(url.render_as_string(hide_password=False), timeout_s=2)) as database:
        assert "look at the URL" in told(database, ASK, 251007)


def test_nobody_is_there(faulty_url: str) -> None:
    url = make_url(faulty_url).set(password=SECRET)
    url = url.update_query_dict({"port": str(free_ports.some_free("127.0.0.1"))})
    with closing(Database(url.render_as_string(hide_password=False), timeout_s=1)) as database:
        text = told(database, HOLD, None)
    assert "it did not answer in time" in text
    assert SECRET not in text
