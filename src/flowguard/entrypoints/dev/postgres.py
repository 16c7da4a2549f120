"""A PostgreSQL server on this machine: started, stopped, killed and started again, on a folder.

    with PostgresServer(Path("data")) as server:
        server.start()
        print(server.url)          # postgresql://flowguard@127.0.0.1:23114/flowguard
        server.kill()              # SIGKILL
        server.start()

The folder holds everything: `server.json` (port and socket), `data/`, pid and log. A server that runs can be met from
another process, by the same folder.

Over TCP, on loopback only, the role `flowguard` gets in without a password, as everybody gets in to the gateway and
Kafka of a desk. It owns the database `flowguard` and may make others, and is no superuser: a superuser can run programs
as the server's user. That one, `postgres`, comes in by the socket only, which lies where no other user gets to.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.entrypoints.dev import free_ports, postgres_probe
from flowguard.entrypoints.dev.daemon import Daemon
from flowguard.entrypoints.dev.folder_lock import alone_in
from flowguard.entrypoints.dev.postgres_place import Place
from flowguard.entrypoints.dev.postgres_program import PostgresProgram

HOST = "127.0.0.1"
NAME = "flowguard"
"""Of the role and of its database."""
SUPERUSER = "postgres"

READY_S = 60.0
STOP_S = 15.0
_POLL_S = 0.02
_ASK_TIMEOUT_S = 5.0
_LOG_LINES = 8

_MARK = f"{NAME}.folder"
"""A setting that means nothing to the server: its process is known by it."""

_LETS_IN = f"""\
# type  database  user        address
local   all       all                             trust
host    all       {NAME}   {HOST}/32    trust
"""
_STATEMENTS = [f"CREATE ROLE {NAME} LOGIN CREATEDB", f"CREATE DATABASE {NAME} OWNER {NAME}"]


class PostgresStartError(TransientError):
    """The server ended, or did not answer in time. The text has the last lines of its log."""


class StopMode(Enum):
    """What happens to the connections."""

    FAST = signal.SIGINT
    """Their transactions are rolled back, and what is committed is written out."""
    IMMEDIATE = signal.SIGQUIT
    """They are cut, and nothing is written out: the next start recovers, as after a crash."""


class PostgresServer:
    """One server on a folder.

    `port` is for TCP; without it, the port of the last time or any free one. `options` are server settings, in force
    from the next start. `data` is PostgreSQL's own folder, where it is to be on another disk. One thread at a time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        options: Mapping[str, str] | None = None,
        data: Path | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.data = (data or self.folder / "data").absolute()
        self._port = port
        self._options = options or {}
        self._place = Place.read(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether it was ever started."""
        return self._place is not None

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._daemon.pid

    @property
    def port(self) -> int:
        return self._made.port

    @property
    def address(self) -> str:
        """Of the TCP port, as host:port."""
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """For FLOWGUARD_SINK_URL."""
        return f"postgresql://{NAME}@{self.address}/{NAME}"

    @property
    def socket_url(self) -> str:
        """The same database by the Unix socket; for the user who has started the server, and root."""
        return self._by_socket(NAME)

    @property
    def superuser_url(self) -> str:
        """As `socket_url`, with all rights."""
        return self._by_socket(SUPERUSER)

    @property
    def ready(self) -> bool:
        """Whether it lets clients in."""
        place = self._place
        return place is not None and postgres_probe.answers(HOST, place.port, NAME, NAME, _ASK_TIMEOUT_S)

    # -- start and stop -------------------------------------------------------------------------------------------

    def start(self, deadline_s: float = READY_S) -> None:
        """Start it, and wait until it is ready. The first start makes its data; one that runs, even suspended, goes on.

        Raises PostgresUnavailableError where this machine cannot run it, ConfigurationError where the port is taken or
        PostgreSQL refuses the folder, and PostgresStartError; what this call has started is stopped again then.
        """
        deadline = time.monotonic() + deadline_s
        with self._alone():
            if self.pid is not None:
                if self._port not in {None, self.port}:
                    raise ConfigurationError(f"{self.folder} holds a PostgreSQL that runs, at port {self.port}")
                self.resume_all()
                self.wait_ready(deadline - time.monotonic())
                return
            try:
                self._launch()
                self.wait_ready(deadline - time.monotonic())
            except BaseException:
                self.kill()
                raise

    def stop(self, mode: StopMode = StopMode.FAST, deadline_s: float = STOP_S) -> None:
        """Ask it to stop, and kill it when it has not within the time. The data stays."""
        with self._alone():
            self.resume_all()  # what is suspended would not hear the next signal
            self._daemon.send(mode.value)
            if not self._daemon.ended(time.monotonic() + deadline_s):
                self.kill()
            if self._place is not None:
                self._place.clear()

    def wait_ready(self, deadline_s: float = READY_S) -> None:
        """Return when `ready`. Raises PostgresStartError as soon as it has ended, or at the deadline."""
        deadline = time.monotonic() + deadline_s
        while not self.ready:
            late = time.monotonic() >= deadline
            if late or self.pid is None:
                why = f"PostgreSQL was not ready within {deadline_s:.0f} s" if late else "PostgreSQL has ended"
                log = self._daemon
                raise PostgresStartError(f"{why}; the end of {log.log}:\n{log.last_lines(_LOG_LINES)}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """SIGKILL to it and all its processes, as if the machine had failed; returns when they are gone."""
        self._daemon.kill()

    def suspend(self, backend: int | None = None) -> None:
        """SIGSTOP: the server is there, and takes no new connection; or the backend of one connection, by its pid.

        Raises ValueError for a pid that is none of this server's.
        """
        _send(self._own(backend), signal.SIGSTOP)

    def resume(self, backend: int | None = None) -> None:
        """SIGCONT, in the same way."""
        _send(self._own(backend), signal.SIGCONT)

    def suspend_all(self) -> None:
        """SIGSTOP to the server and all its processes: nothing happens any more, and every connection stays open."""
        self.suspend()  # no more children
        for pid in self._daemon.children:
            _send(pid, signal.SIGSTOP)

    def resume_all(self) -> None:
        """SIGCONT to the server and all its processes."""
        for pid in (*self._daemon.children, self.pid):
            _send(pid, signal.SIGCONT)

    # -- how ------------------------------------------------------------------------------------------------------

    @property
    def _made(self) -> Place:
        if self._place is None:
            raise ConfigurationError(f"there is no PostgreSQL in {self.folder} yet: start it first")
        return self._place

    @property
    def _daemon(self) -> Daemon:
        return Daemon(self.folder, mark=f"{_MARK}={self.folder}/")

    def _own(self, backend: int | None) -> int | None:
        if backend is None:
            return self.pid
        if backend not in self._daemon.children:
            raise ValueError(f"{backend} is no process of the PostgreSQL in {self.folder}")
        return backend

    def _by_socket(self, role: str) -> str:
        place = self._made
        return f"postgresql://{role}@/{NAME}?host={quote(str(place.sockets or self.data), safe='')}&port={place.port}"

    def _launch(self) -> None:
        """Make the data where there is none yet, and start the server on it."""
        program, before = PostgresProgram.find(self.data), self._place
        port = self._port or (before.port if before else None)
        if port is not None:
            free_ports.require_free(HOST, port)
        else:
            port = free_ports.some_free(HOST)
        if not self.data.exists():
            program.initialize(SUPERUSER, _LETS_IN, _STATEMENTS, durably=self._options.get("fsync") != "off")
        if before is not None:
            before.clear()
        place = Place.new(port, self.data, program.account)
        place.write(self.folder)
        self._place = place
        options = {
            "listen_addresses": HOST,
            "port": str(port),
            "unix_socket_directories": str(place.sockets or "."),
            **self._options,
            _MARK: f"{self.folder}/",
        }
        program.start(self._daemon, options)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One command at a time starts or stops the server of a folder: another one waits."""
        with alone_in(self.folder):
            self._place = Place.read(self.folder)
            yield


def _send(pid: int | None, number: signal.Signals) -> None:
    if pid is not None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
