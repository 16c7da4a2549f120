"""A daemon outlives who started it, and no other program is ever taken for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowguard.entrypoints.dev.daemon import Daemon

SLEEPS = "import sys, time; print('here I am', flush=True); time.sleep(600)"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(tmp_path, mark=str(tmp_path / "properties"))
    yield one
    one.kill()


def _start(daemon: Daemon, program: str = SLEEPS) -> int | None:
    daemon.start([sys.executable, "-c", program, daemon.mark])
    return daemon.pid


def test_it_has_a_pid_from_start_to_end(daemon: Daemon) -> None:
    assert daemon.pid is None
    assert _start(daemon) is not None
    daemon.send(signal.SIGTERM)
    assert daemon.ended(time.monotonic() + 30)
    assert daemon.pid is None


def test_ctrl_c_in_the_terminal_does_not_reach_it(daemon: Daemon) -> None:
    pid = _start(daemon)
    assert pid is not None
    assert os.getpgid(pid) == pid


def test_it_outlives_the_program_that_started_it(daemon: Daemon) -> None:
    starts = (
        "import sys; from pathlib import Path; from flowguard.entrypoints.dev.daemon import Daemon\n"
        f"Daemon(Path({str(daemon.folder)!r}), {daemon.mark!r})"
        f".start([sys.executable, '-c', {SLEEPS!r}, {daemon.mark!r}])"
    )
    subprocess.run([sys.executable, "-c", starts], check=True)
    assert daemon.pid is not None
    daemon.kill()
    assert daemon.pid is None


def test_its_children_are_killed_with_it(daemon: Daemon) -> None:
    _start(daemon, f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPS!r}])")
    deadline = time.monotonic() + 30
    while not (children := daemon.children):
        assert time.monotonic() < deadline, "it has started none"
        time.sleep(0.02)
    daemon.kill()
    assert daemon.children == []
    for pid in children:
        # Gone, or not yet waited for by the system.
        stat = Path(f"/proc/{pid}/stat")
        assert not stat.exists() or ") Z " in stat.read_text("ascii")


def test_waiting_ends_at_the_deadline(daemon: Daemon) -> None:
    _start(daemon)
    assert not daemon.ended(time.monotonic() + 0.1)


def test_another_program_with_its_pid_is_left_alone(daemon: Daemon) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPS], stdout=subprocess.DEVNULL) as other:
        (daemon.folder / "pid").write_text(str(other.pid), "utf-8")
        assert daemon.pid is None
        daemon.send(signal.SIGKILL)
        daemon.kill()
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("_", range(5))
def test_when_it_is_killed_it_is_gone(daemon: Daemon, _: int) -> None:
    """And not only about to go: a server that starts in its place would find it there."""
    pid = _start(daemon, f"import time; memory = b'x' * {300 * 1024 * 1024}; {SLEEPS}")
    assert pid is not None
    deadline = time.monotonic() + 60
    while not daemon.log.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    daemon.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (r"one\n INFO two\n ERROR three\n\tat some.Class\nfour\n INFO five", " ERROR three\nfour"),
        (r" INFO one\n INFO two\n INFO three", " INFO two\n INFO three"),
    ],
)
def test_what_it_printed_last_is_shown_without_the_noise(daemon: Daemon, printed: str, shown: str) -> None:
    _start(daemon, f"print('{printed}')")
    assert daemon.ended(time.monotonic() + 30)
    assert daemon.last_lines(2) == shown


def test_the_log_of_the_life_before_is_kept(daemon: Daemon) -> None:
    for printed in ("first", "second", "third"):
        _start(daemon, f"print('{printed}')")
        assert daemon.ended(time.monotonic() + 30)
    assert daemon.last_lines(9) == "third"
    assert (daemon.folder / "server.log.before").read_text("utf-8") == "second\n"
