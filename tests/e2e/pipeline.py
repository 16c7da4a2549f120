"""`flowguard up` as a process, and the other commands beside it, as a user has them."""

from __future__ import annotations

import json
import os
import random
import socket
import sqlite3
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
FLOWGUARD = Path(sysconfig.get_path("scripts")) / "flowguard"
DEADLINE_S = 60.0


def free_port() -> int:
    """One that nobody gives to the sockets of clients by itself: a client that tries it again and again, while nothing
    listens there, could otherwise be connected to itself.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_until(met: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S, *, pause_s: float = 0.02) -> None:
    deadline = time.monotonic() + deadline_s
    while not met():
        assert time.monotonic() < deadline, f"not within {deadline_s:g} s: {what}"
        time.sleep(pause_s)


@contextmanager
def rows_of(database: Path) -> Iterator[sqlite3.Connection]:
    """The sink's file, read as anybody would read it."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        yield connection


class Installation:
    """A data folder, the settings of all that runs on it, and the commands of a person who looks at it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        # FLOWGUARD_* of this run are its own: whoever runs the tests may have some, and for other ends.
        outside = {name: value for name, value in os.environ.items() if not name.startswith("FLOWGUARD_")}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.environment = (
            outside | variables(settings) | {"PYTHONPATH": path, "FLOWGUARD_DATA_DIR": str(self.data_dir)}
        )

    @property
    def warehouse(self) -> Path:
        return self.data_dir / "warehouse.db"

    def wait_landed(self) -> None:
        """Until no stream has any lag."""

        def landed() -> bool:
            # A new process each time: the gateway may give the answer of a moment ago. Its start takes most of a second
            # of a processor that the pipeline needs as well.
            return all(one["lag"] == 0 for one in self.command("status")["streams"].values())

        wait_until(landed, "the lag is 0", pause_s=0.2)

    def command(self, *arguments: str | Path) -> Any:  # noqa: ANN401  # JSON can be anything
        """The JSON answer of `flowguard ... --json`; fails unless it exits 0."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """`flowguard ...`, to its end."""
        return subprocess.run(
            [FLOWGUARD, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            check=False,
            encoding="utf-8",
        )


def variables(settings: Mapping[str, str]) -> dict[str, str]:
    """FLOWGUARD_* of these settings."""
    return {f"FLOWGUARD_{name.upper()}": value for name, value in settings.items()}


class Pipeline(Installation):
    """One data folder, and at most one `flowguard up` on it. Leaving the `with` kills what still runs."""

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, **settings)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def output(self) -> str:
        """What `flowguard up` said, in all its lives."""
        return (self.folder / "up.txt").read_text(encoding="utf-8", errors="replace")

    def start(self, command: str = "up") -> None:
        """Returns at once. With `gateway`, the gateway alone, of which there may be several on one folder."""
        with (self.folder / "up.txt").open("ab") as output:
            self._process = subprocess.Popen(
                [FLOWGUARD, command, "--port", str(self.port)],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def wait_ready(self) -> None:
        wait_until(lambda: self._alive() and self._answers("/health/ready"), "flowguard up is ready")

    def kill(self) -> None:
        """SIGKILL; fails if it was not alive."""
        assert self._process is not None
        assert self._alive()
        self._process.kill()
        assert self._process.wait(DEADLINE_S) == -9

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(DEADLINE_S)

    def publish(self, file: Path) -> dict[str, int]:
        """`flowguard publish`; its counts."""
        answer = self.command("publish", file, "--url", self.url)
        return {name: answer[name] for name in ("accepted", "duplicate", "rejected")}

    def _alive(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"flowguard up ended by itself: {self.output[-2000:]}"
        return True

    def _answers(self, path: str) -> bool:
        try:
            with closing(HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
                connection.request("GET", path)
                return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
