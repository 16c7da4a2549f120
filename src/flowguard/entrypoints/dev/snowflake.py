"""A local stand-in for Snowflake: started, stopped, killed and started again, on a folder.

    with SnowflakeServer(Path("data")) as server:
        server.start()
        print(server.url)          # snowflake://flowguard:flowguard@fakesnow/FLOWGUARD/BRONZE?host=127.0.0.1&port=...
        server.kill()              # SIGKILL
        server.start()

It speaks the protocol of Snowflake's connectors, on loopback, and lets everybody in. The folder holds everything:
`server.json` (the port), `data/`, pid and log. A server that runs can be met from another process, by the same folder.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.entrypoints.dev import free_ports, snowflake_probe
from flowguard.entrypoints.dev.daemon import Daemon
from flowguard.entrypoints.dev.folder_lock import alone_in
from flowguard.entrypoints.dev.snowflake_environment import STAND_IN, find_python

HOST = "127.0.0.1"
NAME = "flowguard"
"""Of the user, and in upper case of the database."""
SCHEMA = "BRONZE"

READY_S = 60.0
STOP_S = 15.0
_POLL_S = 0.02
_ASK_TIMEOUT_S = 5.0
_LOG_LINES = 8
_FILE = "server.json"


class SnowflakeStartError(TransientError):
    """The server ended, or did not answer in time. The text has the last lines of its log."""


class SnowflakeServer:
    """One server on a folder.

    `port` is where it listens; without it, the port of the last time or any free one. `options` are settings of the
    stand-in, in force from the next start (see `snowflake_standin/standin/settings.py`). `say` is told before something
    takes long. One thread at a time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        options: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder = folder.absolute()
        self._port = port
        self._options = options or {}
        self._say = say
        self._made_port = _read_port(self.folder)

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
        return self._made_port is not None

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._daemon.pid

    @property
    def port(self) -> int:
        if self._made_port is None:
            raise ConfigurationError(f"there is no stand-in for Snowflake in {self.folder} yet: start it first")
        return self._made_port

    @property
    def address(self) -> str:
        """As host:port."""
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """For FLOWGUARD_SINK_URL."""
        query = f"host={HOST}&port={self.port}&protocol=http&warehouse=WH"
        return f"snowflake://{NAME}:{NAME}@fakesnow/{NAME.upper()}/{SCHEMA}?{query}"

    @property
    def ready(self) -> bool:
        """Whether it lets clients in."""
        port = self._made_port
        return port is not None and snowflake_probe.answers(HOST, port, NAME, _ASK_TIMEOUT_S)

    # -- start and stop -------------------------------------------------------------------------------------------

    def start(self, deadline_s: float = READY_S) -> None:
        """Start it, and wait until it is ready. The first time on this machine its environment is made before.

        One that runs, even suspended, goes on. Raises SnowflakeUnavailableError where this machine cannot run it,
        ConfigurationError where the port is taken, and SnowflakeStartError; what this call has started is stopped then.
        """
        python = find_python(self._say)
        deadline = time.monotonic() + deadline_s
        with self._alone():
            if self.pid is not None:
                if self._port not in {None, self.port}:
                    raise ConfigurationError(f"{self.folder} holds a stand-in that runs, at port {self.port}")
                self.resume_all()
                self.wait_ready(deadline - time.monotonic())
                return
            try:
                self._launch(python)
                self.wait_ready(deadline - time.monotonic())
            except BaseException:
                self.kill()
                raise

    def stop(self, deadline_s: float = STOP_S) -> None:
        """Ask it to stop, and kill it when it has not within the time. The data stays; open transactions are undone."""
        with self._alone():
            self.resume_all()  # what is suspended would not hear the next signal
            self._daemon.send(signal.SIGTERM)
            if not self._daemon.ended(time.monotonic() + deadline_s):
                self.kill()

    def wait_ready(self, deadline_s: float = READY_S) -> None:
        """Return when `ready`. Raises SnowflakeStartError as soon as it has ended, or at the deadline."""
        deadline = time.monotonic() + deadline_s
        while not self.ready:
            late = time.monotonic() >= deadline
            if late or self.pid is None:
                why = f"the stand-in was not ready within {deadline_s:.0f} s" if late else "the stand-in has ended"
                log = self._daemon
                raise SnowflakeStartError(f"{why}; the end of {log.log}:\n{log.last_lines(_LOG_LINES)}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """SIGKILL, as if the machine had failed; returns when it is gone."""
        self._daemon.kill()

    def suspend_all(self) -> None:
        """SIGSTOP: nothing happens any more, and every connection stays open."""
        self._daemon.send(signal.SIGSTOP)

    def resume_all(self) -> None:
        """SIGCONT."""
        self._daemon.send(signal.SIGCONT)

    # -- how ------------------------------------------------------------------------------------------------------

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _daemon(self) -> Daemon:
        return Daemon(self.folder, mark=f"{self._data}/")

    def _launch(self, python: Path) -> None:
        port = self._port or self._made_port
        if port is not None:
            free_ports.require_free(HOST, port)
        else:
            port = free_ports.some_free(HOST)
        self._data.mkdir(exist_ok=True)
        draft = self.folder / f"{_FILE}.draft"
        draft.write_text(json.dumps({"port": port}) + "\n", "utf-8")
        draft.replace(self.folder / _FILE)
        self._made_port = port
        places = {"data": f"{self._data}/", "host": HOST, "port": str(port), "database": NAME.upper(), "schema": SCHEMA}
        arguments = [f"{name}={value}" for name, value in (places | dict(self._options)).items()]
        # -I: nothing of the caller's environment or folder gets into the other interpreter.
        self._daemon.start([str(python), "-I", str(STAND_IN), *arguments])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One command at a time starts or stops the server of a folder: another one waits."""
        with alone_in(self.folder):
            self._made_port = _read_port(self.folder)
            yield


def _read_port(folder: Path) -> int | None:
    """None where there is none. Raises ConfigurationError where the file is damaged."""
    file = folder / _FILE
    try:
        return int(json.loads(file.read_text("utf-8"))["port"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{file} cannot be read ({error}): remove {folder}, with its data") from error
