"""A real PostgreSQL for tests that carry the marker `postgres`.

`postgres` is one server, shared by the whole run: a test works in a database of its own, `postgres_url`, or in several
from `postgres.fresh_database()`. Tests that stop or kill a server have their own by `running_postgres`. Without the
binaries the test is skipped, and says why. `FLOWGUARD_TEST_POSTGRES_URL=postgresql://...` uses a server that runs
already, as `postgres`; its role has to be one that may make databases.
"""

from __future__ import annotations

import itertools
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.postgres import PostgresServer
from flowguard.entrypoints.dev.postgres_program import PostgresProgram
from flowguard.entrypoints.dev.unavailable import PostgresUnavailableError

RUNNING = "FLOWGUARD_TEST_POSTGRES_URL"

QUICK = {"fsync": "off", "max_connections": "200"}
"""For tests that do not fail the machine under the server: nothing waits for the disk."""


@dataclass
class Postgres:
    """A server, and the databases made in it for tests."""

    url: str
    """Of a database that the server has anyway: to make others from, not to write to."""
    _made: set[str] = field(default_factory=set)
    _prefix: str = field(default_factory=lambda: f"test_{uuid.uuid4().hex[:8]}_")
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def fresh_database(self) -> str:
        """The URL of a new, empty database. It is dropped by `drop`, or at the end of the run."""
        name = f"{self._prefix}{next(self._numbers)}"
        # template0 has no connections, ever, and nothing that somebody may have put into it.
        self._run(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        self._made.add(name)
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def drop(self, url: str) -> None:
        """Drop a database that `fresh_database` has made, whoever still uses it."""
        name = urlsplit(url).path.removeprefix("/")
        drop = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
        try:
            self._run(drop + sql.SQL(" WITH (FORCE)"))
        except psycopg.errors.InsufficientPrivilege:
            self._run(drop)  # an autovacuum worker is at it: no role of ours may end that, and this sends it away
        self._made.discard(name)

    def drop_all(self) -> None:
        """What is left."""
        for name in [*self._made]:
            self.drop(f"/{name}")

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


def require_postgres(folder: Path) -> None:
    """Skip the test where this machine cannot run PostgreSQL."""
    try:
        PostgresProgram.find(folder)
    except PostgresUnavailableError as error:
        pytest.skip(f"{error}; or set {RUNNING}")


@contextmanager
def running_postgres(
    folder: Path, options: Mapping[str, str] | None = None, *, data: Path | None = None
) -> Iterator[PostgresServer]:
    """A server of the caller's own, on a free port; skips the test where this machine cannot run PostgreSQL.

    Without `options` it is as durable as in production; `QUICK` is not. `data` is its own folder, where that is to be
    on another disk.
    """
    require_postgres(folder)
    server = PostgresServer(folder, options=options, data=data)
    with ending_with_this_process(PostgresServer, folder):
        server.start()
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    if url := os.environ.get(RUNNING):
        running = Postgres(url)
        yield running
        running.drop_all()
        return
    folder = tmp_path_factory.mktemp("postgres")
    with running_postgres(folder, QUICK) as server:
        yield Postgres(server.url)
    # pytest keeps the folders of three runs, and this one can be large.
    shutil.rmtree(folder / "data")


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A new, empty database, for one test."""
    url = postgres.fresh_database()
    yield url
    postgres.drop(url)
