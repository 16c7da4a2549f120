"""A server that says nothing more is given up in time, and so is waiting for it when it is to be let go."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event

import pytest

from flowguard.adapters.postgres import Part, PostgresEventSink, migrate
from flowguard.adapters.postgres.database import Database
from flowguard.domain.errors import TransientError
from flowguard.domain.rows import Move
from flowguard.entrypoints.dev.postgres import PostgresServer
from tests.builders import CATALOG, CLICKS, rows
from tests.contracts.sink_case import batch, claim
from tests.servers.postgres import QUICK, running_postgres

pytestmark = pytest.mark.postgres

SOON_S = 60.0
"""For what is to take seconds, and would take for ever."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with running_postgres(tmp_path_factory.mktemp("silent"), QUICK) as server:
        yield server


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as thread:
        yield thread


@contextmanager
def suspended(server: PostgresServer, backend: int | None = None) -> Iterator[None]:
    server.suspend(backend)
    try:
        yield
    finally:
        server.resume(backend)


def backend_of(database: Database) -> int:
    with database.transaction() as connection:
        return connection.info.backend_pid


@pytest.mark.parametrize("patient", [False, True])
def test_a_backend_that_stands_still_between_two_uses(
    server: PostgresServer, thread: ThreadPoolExecutor, patient: bool
) -> None:
    with closing(Database(server.url, timeout_s=1, patient=patient)) as database:
        before = backend_of(database)
        with suspended(server, before):
            assert thread.submit(backend_of, database).result(SOON_S) != before


def test_a_backend_that_stands_still_in_a_transaction(server: PostgresServer, thread: ThreadPoolExecutor) -> None:
    def uses(database: Database) -> None:
        with database.transaction() as connection, suspended(server, connection.info.backend_pid):
            connection.execute("SELECT 1")

    with closing(Database(server.url, timeout_s=1)) as database:
        with pytest.raises(TransientError, match="connection broke"):
            thread.submit(uses, database).result(SOON_S)
        assert backend_of(database)


def test_a_server_that_takes_no_connection(server: PostgresServer, thread: ThreadPoolExecutor) -> None:
    with closing(Database(server.url, timeout_s=1)) as database:
        with suspended(server), pytest.raises(TransientError, match="cannot be reached"):
            thread.submit(backend_of, database).result(SOON_S)
        assert backend_of(database)


@pytest.mark.parametrize("where", ["between two writes", "in a write"])
def test_closing_a_sink_whose_server_stands_still(
    server: PostgresServer, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    migrate(server.url, [*Part], CATALOG)
    sink = PostgresEventSink(server.url, CATALOG, timeout_s=600)
    ours = claim(sink)
    backend = backend_of(sink._database)
    in_time = Event()

    def stand_still(*_: object) -> list[int | None]:
        server.suspend(backend)
        in_time.set()
        return [None]

    if where == "in a write":
        monkeypatch.setattr("flowguard.adapters.postgres.sink.move", stand_still)
    else:
        stand_still()
    try:
        write = thread.submit(sink.write, batch(rows(CLICKS, range(5)), moves=(Move(ours, None, 5),)))
        assert in_time.wait(SOON_S)
        thread.submit(sink.close).result(SOON_S)
        with pytest.raises(TransientError):
            write.result(SOON_S)
    finally:
        server.resume(backend)
