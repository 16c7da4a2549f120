"""Snowflake for tests that carry the marker `snowflake`: its local stand-in, through the real connector.

`snowflake` is one stand-in, shared by the whole run: a test works in a schema of its own, `snowflake_url`, or in some
from `snowflake.fresh_schema()`. Tests that stop or kill a server have their own, by `running_snowflake`.
Without the stand-in the test is skipped, and says why. `FLOWGUARD_TEST_SNOWFLAKE_URL=snowflake://...` uses that account
instead, as `snowflake`; its role has to be one that may make schemas in the URL's database.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import snowflake.connector

from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.snowflake import SnowflakeServer
from flowguard.entrypoints.dev.snowflake_environment import find_python
from flowguard.entrypoints.dev.unavailable import SnowflakeUnavailableError

Connection = snowflake.connector.SnowflakeConnection
"""The real connector's."""

RUNNING = "FLOWGUARD_TEST_SNOWFLAKE_URL"

WITH_FAULTS = {"faults": "1"}
"""For a server of a test's own: `Faults` works on it."""

_WAIT_S = 30.0
_POLL_S = 0.01


def connected(url: str, **options: object) -> Connection:
    """A connection of the real connector, with qmark binds; `options` are the connector's own."""
    parts = urlsplit(url)
    database, schema = parts.path.removeprefix("/").split("/")
    given: dict[str, Any] = {
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "account": parts.hostname,
        "database": database,
        "schema": schema,
        "paramstyle": "qmark",
        "enable_server_session_keep_alive_auto_detection": False,  # unset, the connector warns
        "login_timeout": 10,
        **dict(parse_qsl(parts.query)),
        **options,
    }
    parameters = {"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False, **given.pop("session_parameters", {})}
    return snowflake.connector.connect(**given, session_parameters=parameters)


@dataclass
class Snowflake:
    """A server, and the schemas made in it for tests."""

    url: str
    """Of a schema that the server has anyway: to make others from, not to write to."""
    _made: set[str] = field(default_factory=set)
    _prefix: str = field(default_factory=lambda: f"TEST_{uuid.uuid4().hex[:8].upper()}_")
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def fresh_schema(self) -> str:
        """The URL of a new, empty schema. It is dropped by `drop`, or at the end of the run."""
        name = f"{self._prefix}{next(self._numbers)}"
        self._run(f"CREATE SCHEMA {name}")
        self._made.add(name)
        parts = urlsplit(self.url)
        return parts._replace(path=f"/{parts.path.split('/')[1]}/{name}").geturl()

    def drop(self, url: str) -> None:
        """Drop a schema that `fresh_schema` has made."""
        name = urlsplit(url).path.split("/")[2]
        self._run(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        self._made.discard(name)

    def drop_all(self) -> None:
        """What is left."""
        for name in [*self._made]:
            self.drop(f"//x/x/{name}")

    def _run(self, statement: str) -> None:
        with connected(self.url) as connection:
            connection.cursor().execute(statement)


class Faults:
    """What a test sets on a stand-in of its own, started with `WITH_FAULTS`; `standin/faults.py` says more."""

    def __init__(self, server: SnowflakeServer) -> None:
        self._address = f"http://{server.address}/fg"

    def set(self, what: str, matching: str = "", **fields: object) -> int:
        """`what` is "error", "cut_before", "cut_after" or "hold". Returns its number."""
        number = self._ask("POST", "/faults", {"what": what, "matching": matching, **fields})["id"]
        assert isinstance(number, int)
        return number

    def refuse_logins(self) -> int:
        """Until lifted, credentials are wrong."""
        return self.set("error", at="login", errno="390100", message="Incorrect username or password was specified.")

    def expire_sessions(self, times: int = 1, at: str = "query") -> list[int]:
        """Statements (or heartbeats) find their session expired, and its token cannot be renewed."""
        lost = "Session no longer exists. New login required to access the service."
        return [
            self.set("error", at=at, times=times, errno="390112", message="Your session has expired."),
            self.set("error", at="renew", times=times, errno="390111", message=lost),
        ]

    def lift(self, number: int | None = None) -> None:
        """One, or all; what stands still goes on."""
        self._ask("DELETE", "/faults" if number is None else f"/faults/{number}")

    def fired(self, number: int) -> int:
        """How often. Of one that is not lifted."""
        return int(self._of(number)["fired"])

    def wait_standing(self, number: int, count: int = 1) -> None:
        """Until so many statements stand still."""
        wait_for(lambda: self._of(number)["standing"] >= count, f"{count} statements stand still")

    def counted(self) -> dict[str, Any]:
        """Since the reset: `requests`, `by_session`, `by_kind` (of `at`, and result), and what was `asked`."""
        counted = self._ask("GET", "/statements")
        assert isinstance(counted, dict)
        return counted

    def reset_counts(self) -> None:
        self._ask("DELETE", "/statements")

    def _of(self, number: int) -> dict[str, Any]:
        (found,) = [one for one in self._ask("GET", "/faults") if one["id"] == number]
        assert isinstance(found, dict)
        return found

    def _ask(self, method: str, path: str, content: object = None) -> Any:  # noqa: ANN401  # JSON
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self._address + path, body, method=method)  # our own server
        try:
            with urllib.request.urlopen(request, timeout=_WAIT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Return when it holds; fails the test when that takes too long."""
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {_WAIT_S:g} s: {what}"
        time.sleep(_POLL_S)


def require_snowflake() -> None:
    """Skip the test where this machine cannot run the stand-in."""
    try:
        find_python(print)
    except SnowflakeUnavailableError as error:
        pytest.skip(str(error))


@contextmanager
def running_snowflake(folder: Path, options: Mapping[str, str] = WITH_FAULTS) -> Iterator[SnowflakeServer]:
    """A stand-in of the caller's own, on a free port; skips the test where this machine cannot run it.

    What was committed survives its `kill`.
    """
    require_snowflake()
    server = SnowflakeServer(folder, options=options)
    with ending_with_this_process(SnowflakeServer, folder):
        server.start()
        yield server


@pytest.fixture(scope="session")
def snowflake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnowflakeServer]:
    """The shared stand-in itself, with faults: who sets one lifts it."""
    folder = tmp_path_factory.mktemp("snowflake")
    with running_snowflake(folder) as server:
        yield server
    # pytest keeps the folders of three runs, and this one can be large.
    shutil.rmtree(folder / "data")


@pytest.fixture(scope="session", name="snowflake")
def snowflake_for_all(request: pytest.FixtureRequest) -> Iterator[Snowflake]:
    if url := os.environ.get(RUNNING):
        running = Snowflake(url)
        yield running
        running.drop_all()
        return
    server: SnowflakeServer = request.getfixturevalue("snowflake_server")
    yield Snowflake(server.url)


@pytest.fixture
def snowflake_url(snowflake: Snowflake) -> Iterator[str]:
    """A new, empty schema, for one test."""
    url = snowflake.fresh_schema()
    yield url
    snowflake.drop(url)
