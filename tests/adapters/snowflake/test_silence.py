"""A server that is dead, or says nothing more, is noticed in time; nobody waits for it when it is to be let go."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from time import monotonic

import pytest

from flowguard.adapters.snowflake import Part, SnowflakeEventSink, migrate
from flowguard.adapters.snowflake.database import Database
from flowguard.domain.errors import TransientError
from flowguard.domain.rows import Merged, Move, WriteReport
from flowguard.entrypoints.dev.snowflake import SnowflakeServer
from tests.builders import CATALOG, CLICKS, rows
from tests.contracts.sink_case import batch, claim
from tests.servers.snowflake import Faults, running_snowflake

pytestmark = pytest.mark.snowflake

SOON_S = 30.0
"""For what is to take seconds, and would take minutes or for ever."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnowflakeServer]:
    with running_snowflake(tmp_path_factory.mktemp("silent")) as server:
        yield server


@pytest.fixture
def faults(server: SnowflakeServer) -> Iterator[Faults]:
    faults = Faults(server)
    faults.lift()
    faults.reset_counts()
    yield faults
    faults.lift()


@pytest.fixture
def database(server: SnowflakeServer) -> Iterator[Database]:
    with closing(Database(server.url, timeout_s=2, query_timeout_s=3)) as database:
        yield database


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as thread:
        yield thread


@contextmanager
def suspended(server: SnowflakeServer) -> Iterator[None]:
    server.suspend_all()
    try:
        yield
    finally:
        server.resume_all()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    start = monotonic()
    yield
    assert monotonic() - start < seconds


def use(database: Database) -> int:
    """One transaction; which of the database's connections it had."""
    with database.transaction() as session:
        assert session.rows("SELECT 1 + 1") == [(2,)]
    return database.connections


def test_a_server_that_stands_still(server: SnowflakeServer, database: Database) -> None:
    before = use(database)
    with suspended(server):
        for _ in range(2):  # with a connection, and without one
            with within(SOON_S), pytest.raises(TransientError):
                use(database)
    assert use(database) > before


def test_a_statement_that_stands_still(database: Database, faults: Faults) -> None:
    with database.transaction() as session:
        session.change("CREATE TABLE IF NOT EXISTS T (N NUMBER)")
    held = faults.set("hold", "INSERT INTO T ")
    with within(SOON_S), pytest.raises(TransientError), database.transaction() as session:
        session.change("INSERT INTO T SELECT 1")
    assert faults.fired(held) == 1
    faults.lift()
    with database.transaction() as session:
        assert session.rows("SELECT COUNT(*) FROM T") == [(0,)]


def test_a_server_that_died(server: SnowflakeServer, database: Database) -> None:
    use(database)
    server.kill()
    for _ in range(2):
        with within(SOON_S), pytest.raises(TransientError):
            use(database)
    server.start()
    use(database)


def test_a_connection_that_nobody_used_for_long_is_asked_first(
    server: SnowflakeServer, database: Database, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What befell the server meanwhile costs nobody an error."""
    monkeypatch.setattr("flowguard.adapters.snowflake.database._IDLE_S", 0.0)
    before = use(database)
    faults.reset_counts()
    assert use(database) == before
    assert [one["text"] for one in faults.counted()["asked"]] == ["SELECT 1", "SELECT 1 + 1", "COMMIT"]
    server.kill()
    server.start()
    assert use(database) == before + 1


@pytest.mark.parametrize("where", ["between two writes", "in a write"])
def test_closing_a_sink_whose_server_stands_still(
    server: SnowflakeServer, thread: ThreadPoolExecutor, faults: Faults, where: str
) -> None:
    migrate(server.url, [*Part], CATALOG)
    sink = SnowflakeEventSink(server.url, CATALOG, timeout_s=600, query_timeout_s=600)
    ours = claim(sink)
    start = ours.next_offset or 0
    write = batch(rows(CLICKS, range(start, start + 5)), moves=(Move(ours, ours.next_offset, start + 5),))

    def land() -> WriteReport:
        return sink.write(write)

    if where == "in a write":
        held = faults.set("hold", 'INSERT INTO "CLICKS"')
        landing = thread.submit(land)
        faults.wait_standing(held)
    else:
        landing = None
    with suspended(server):
        thread.submit(sink.close).result(SOON_S)
    faults.lift()
    if landing is not None:
        assert landing.result(SOON_S).merged == {"clicks": Merged(5, 0)}
    with pytest.raises(TransientError, match="closed"):
        land()
