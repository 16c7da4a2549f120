"""A program that outlives the command that started it, known by a pid file, and signalled only when it is ours."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Account:
    """Numbers of a user and a group of the system."""

    user: int
    group: int


@dataclass(frozen=True, slots=True)
class Daemon:
    """One program in a folder of its own.

    The system may give the pid of a program that has crashed to another one. So the process is ours when its command
    line has `mark`, a path inside the folder.
    """

    folder: Path
    mark: str

    @property
    def log(self) -> Path:
        """What it printed in this life; of the life before there is `server.log.before`."""
        return self.folder / "server.log"

    @property
    def _pid_file(self) -> Path:
        return self.folder / "pid"

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        try:
            pid = int(self._pid_file.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        with suppress(ChildProcessError):  # not started by this very process
            os.waitpid(pid, os.WNOHANG)
        return pid if self.mark in _command_line(pid) else None

    @property
    def children(self) -> list[int]:
        """The pids of the processes that it has started and that are still there."""
        return [] if (pid := self.pid) is None else _children(pid)

    def start(self, command: Sequence[str], account: Account | None = None, keep_open: Sequence[int] = ()) -> None:
        """As this user, or `account`, with these files open. Returns at once."""
        with suppress(FileNotFoundError):
            self.log.replace(self.log.with_name("server.log.before"))
        with self.log.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  # our own command
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
                user=account.user if account else None,
                group=account.group if account else None,
                extra_groups=[] if account else None,
                pass_fds=keep_open,
            )
        while not _command_line(process.pid) and process.poll() is None:
            time.sleep(_POLL_S)  # for a moment after the start, the system has no command line to show
        # It is meant to outlive this object, which would otherwise complain; `pid` collects its exit.
        process.returncode = 0
        self._pid_file.write_text(str(process.pid), "utf-8")

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it runs."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """End it and its children, and return when they are gone."""
        self.send(signal.SIGSTOP)  # no more children
        family = [*self.children, *filter(None, [self.pid])]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # In this order: our own child, once it has ended, goes when `pid` waits for it.
        while any(map(_runs, family)) or self.pid is not None:
            time.sleep(_POLL_S)

    def ended(self, deadline: float) -> bool:
        """Wait until it is gone, or time.monotonic() reaches the deadline."""
        pid = self.pid
        while pid is not None and (self.pid is not None or _runs(pid)):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def last_lines(self, count: int) -> str:
        """The end of what it printed in this life, without stack traces and, where there is worse, without INFO."""
        try:
            lines = self.log.read_text("utf-8", errors="replace").splitlines()
        except OSError as error:
            return f"({self.log}: {error.strerror})"
        lines = [line for line in lines if not line.startswith("\t")]
        worse = [line for line in lines if " INFO " not in line]
        return "\n".join((worse or lines)[-count:])


def _command_line(pid: int) -> str:
    """Empty for a process that is gone, or that ended and was not waited for."""
    proc = Path("/proc")
    if (proc / "self").exists():
        try:
            return (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    done = subprocess.run(  # noqa: S603
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607  # wherever the system has it
        capture_output=True,
        check=False,
        text=True,
    )
    return done.stdout


def _runs(pid: int) -> bool:
    """Whether it is there and has not ended. One that is killed loses its command line some time before it ends.

    Its first thread may have ended while others still hold its files and ports.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return bool(_command_line(pid))
    return threads > 1 or stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # gone meanwhile
            # The name, in parentheses, may hold anything; after it: state, parent.
            state, parent = stat.read_text("ascii", errors="replace").rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(stat.parent.name))
    if not Path("/proc/self").exists():
        done = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=False, text=True)  # noqa: S607
        pairs = (line.split() for line in done.stdout.splitlines())
        found = [int(child) for child, parent in pairs if int(parent) == pid]
    return found
