"""A server that is dead, or says nothing more, is noticed in time; nobody waits for it when it is to be let go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from time import monotonic

import pytest

from flowguard.adapters.snowflake import Part, SnowflakeEventSink, migrate
from flowguard.adapters.snowflake.database import Database
from flowguard.adapters.snowflake.keeping import Keeper
from flowguard.domain.errors import TransientError
from flowguard.domain.rows import Merged, Move, WriteReport
from flowguard.entrypoints.dev.snowflake import SnowflakeServer
from tests.builders import CATALOG, CLICKS, rows
from tests.contracts.sink_case import batch, claim
from tests.servers.snowflake import Faults, running_snowflake, wait_for

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


@pytest.fixture
def idle(server: SnowflakeServer) -> Iterator[Database]:
    """Asked soon."""
    with closing(Database(server.url, timeout_s=2, query_timeout_s=3, idle_s=0.05)) as database:
        yield database


def test_a_connection_that_nobody_uses_is_asked_without_a_statement(idle: Database, faults: Faults) -> None:
    before = use(idle)
    faults.reset_counts()
    wait_for(lambda: faults.counted()["by_kind"].get("heartbeat", 0) >= 3, "three heartbeats")
    assert faults.counted()["by_kind"].keys() == {"heartbeat"}
    assert use(idle) == before


def test_a_session_that_expires_while_nobody_uses_it_costs_nobody_an_error(idle: Database, faults: Faults) -> None:
    before = use(idle)
    faults.expire_sessions(at="heartbeat")
    wait_for(lambda: idle.connections > before, "there is another connection")
    use(idle)


def test_a_server_that_is_gone_while_nobody_uses_it(server: SnowflakeServer, idle: Database) -> None:
    before = use(idle)
    server.kill()
    server.start()
    wait_for(lambda: idle.connections > before, "there is another connection")
    use(idle)


def test_nobody_waits_for_a_connection_that_hangs_while_it_is_asked(idle: Database, faults: Faults) -> None:
    before = use(idle)
    held = faults.set("hold", at="heartbeat")
    faults.wait_standing(held)
    with within(1):
        assert use(idle) == before + 1
    faults.lift()


def test_who_asks_a_connection_ends_with_it(idle: Database, faults: Faults) -> None:
    use(idle)
    (keeper,) = [one for one in threading.enumerate() if isinstance(one, Keeper) and not one.ended.is_set()]
    held = faults.set("hold", at="heartbeat")
    faults.wait_standing(held)
    idle.close()
    faults.lift()
    keeper.join(SOON_S)
    assert not keeper.is_alive()


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
