"""Workers under their supervisor: real processes, started again, drained together, and never left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Self

import pytest

from flowguard.domain.errors import RetryPolicy
from flowguard.entrypoints.supervisor import WORKER, Supervisor, worker_number, worker_settings
from flowguard.settings import Settings
from tests.application.pipeline import Pipeline
from tests.builders import CLICKS
from tests.e2e.pipeline import DEADLINE_S, FLOWGUARD, wait_until

# A worker: says that it started, and that it drained when its standard input ended. What it finds in `end-NUMBER` is
# the exit code to end with at once; `stubborn` has it never end by itself.
CHILD = """
import os, pathlib, select, sys, time
number, pid, folder = os.environ["FLOWGUARD_WORKER"], os.getpid(), pathlib.Path.cwd()
(folder / f"started-{number}-{pid}").touch()
order = folder / f"end-{number}"
while not select.select([0], [], [], 0.01)[0]:
    if order.exists():
        code = int(order.read_text())
        if not (folder / "again").exists():
            order.unlink()
        os._exit(code)
assert sys.stdin.read() == ""
while (folder / "stubborn").exists():
    time.sleep(0.01)
(folder / f"drained-{number}-{pid}").touch()
"""

# A supervisor as `flowguard consume --workers` has it.
PARENT = """
import sys, threading
from flowguard.domain.errors import RetryPolicy
from flowguard.entrypoints import supervisor
from flowguard.entrypoints.cli.lifetime import start_logging, stopped_by_signals
workers, initial_s, cap_s, drain_s, child = int(sys.argv[1]), *map(float, sys.argv[2:5]), sys.argv[5]
supervisor._MARGIN_S = 0.0
start_logging(verbose=False)
one = supervisor.Supervisor(
    [sys.executable, "-S", "-c", child], workers, retry=RetryPolicy(initial_s, 2.0, cap_s), drain_s=drain_s,
    final=frozenset({3, 5}), jitter=lambda: 1.0,
)
stop = threading.Event()
with stopped_by_signals(stop.set, one.kill):
    sys.exit(one.run(stop))
"""


class Supervised:
    """A supervisor with its workers. Leaving the `with` ends what still runs."""

    def __init__(
        self, folder: Path, workers: int = 2, *, initial_s: float = 0.01, cap_s: float = 30.0, drain_s: float = 60.0
    ) -> None:
        self.folder = folder
        arguments = [str(one) for one in (workers, initial_s, cap_s, drain_s)]
        with (folder / "err").open("wb") as err:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", PARENT, *arguments, CHILD], cwd=folder, stderr=err, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.wait(DEADLINE_S)
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text("utf-8")

    def pids(self, what: str = "started", number: int | None = None) -> list[int]:
        """Of the workers that did so, the one that did it first first."""
        found = self.folder.glob(f"{what}-{'*' if number is None else number}-*")
        return [int(one.name.rpartition("-")[2]) for one in sorted(found, key=lambda path: path.stat().st_mtime_ns)]

    def wait_started(self, count: int) -> None:
        wait_until(lambda: len(self.pids()) >= count, f"{count} workers started")

    def order(self, number: int, code: int) -> None:
        hidden = self.folder / f"new-{number}"
        hidden.write_text(str(code))
        hidden.rename(self.folder / f"end-{number}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(DEADLINE_S)


def _alive(pid: int) -> bool:
    """A process that ended, and whose parent has not asked yet, is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _all_gone(pids: list[int]) -> None:
    wait_until(lambda: not any(map(_alive, pids)), "the workers are gone")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_them_all(tmp_path: Path, number: signal.Signals) -> None:
    with Supervised(tmp_path, 3) as supervised:
        supervised.wait_started(3)
        assert supervised.end(number) == 0
        assert sorted(supervised.pids("drained")) == sorted(supervised.pids())
        assert {len(supervised.pids("drained", one)) for one in (1, 2, 3)} == {1}


def test_ctrl_c_at_the_terminal_reaches_the_supervisor_alone(tmp_path: Path) -> None:
    with Supervised(tmp_path) as supervised:
        supervised.wait_started(2)
        os.killpg(supervised.popen.pid, signal.SIGINT)
        assert supervised.popen.wait(DEADLINE_S) == 0
        assert len(supervised.pids("drained")) == 2


def test_one_that_dies_starts_again_after_growing_pauses_and_the_other_goes_on(tmp_path: Path) -> None:
    with Supervised(tmp_path, initial_s=0.1) as supervised:
        supervised.wait_started(2)
        (tmp_path / "again").touch()
        supervised.order(2, 70)
        wait_until(lambda: len(supervised.pids(number=2)) >= 4, "it was started again and again")
        (tmp_path / "again").unlink()
        (tmp_path / "end-2").unlink(missing_ok=True)
        pauses = re.findall(r"worker 2 ended with exit code 70; it starts again in ([0-9.]+) s", supervised.err)
        assert pauses[:3] == ["0.1", "0.2", "0.4"]
        assert len(supervised.pids(number=1)) == 1
        assert supervised.end() == 0
        assert len(supervised.pids("drained", 1)) == 1


def test_one_that_was_killed_starts_again_and_so_does_one_that_went_by_itself(tmp_path: Path) -> None:
    with Supervised(tmp_path) as supervised:
        supervised.wait_started(2)
        os.kill(supervised.pids(number=1)[0], signal.SIGKILL)
        supervised.order(2, 0)
        wait_until(lambda: {len(supervised.pids(number=one)) for one in (1, 2)} == {2}, "both were started again")
        assert "worker 1 was ended by SIGKILL; it starts again" in supervised.err
        assert supervised.end() == 0


def test_one_that_lived_long_is_taken_for_sound(tmp_path: Path) -> None:
    with Supervised(tmp_path, 1, initial_s=0.1, cap_s=0.2) as supervised:
        for life in range(1, 4):
            supervised.wait_started(life)
            at = monotonic() + 0.5
            wait_until(lambda at=at: monotonic() > at, "it lived for longer than the longest pause")  # type: ignore[misc]
            supervised.order(1, 70)
        supervised.wait_started(4)
        assert re.findall(r"again in ([0-9.]+) s", supervised.err) == ["0.1"] * 3


@pytest.mark.parametrize("code", [3, 5])
def test_one_that_needs_a_person_stops_them_all_with_its_exit_code(tmp_path: Path, code: int) -> None:
    with Supervised(tmp_path, 3) as supervised:
        supervised.wait_started(3)
        supervised.order(2, code)
        assert supervised.popen.wait(DEADLINE_S) == code
        assert [len(supervised.pids("drained", one)) for one in (1, 2, 3)] == [1, 0, 1]
        assert len(supervised.pids()) == 3
        assert f"worker 2 ended with exit code {code}: all of them stop" in supervised.err


def test_workers_do_not_outlive_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    with Supervised(tmp_path, 3) as supervised:
        supervised.wait_started(3)
        assert supervised.end(signal.SIGKILL) == -9
        _all_gone(supervised.pids())
        assert sorted(supervised.pids("drained")) == sorted(supervised.pids())


def test_a_worker_that_does_not_finish_in_time_is_ended(tmp_path: Path) -> None:
    (tmp_path / "stubborn").touch()
    with Supervised(tmp_path, drain_s=0.2) as supervised:
        supervised.wait_started(2)
        assert supervised.end() == 0
        _all_gone(supervised.pids())
        assert supervised.pids("drained") == []
        assert "worker 1 did not finish in time" in supervised.err


def test_a_second_signal_leaves_at_once_and_takes_the_workers_along(tmp_path: Path) -> None:
    (tmp_path / "stubborn").touch()
    with Supervised(tmp_path) as supervised:
        supervised.wait_started(2)
        supervised.popen.send_signal(signal.SIGTERM)
        wait_until(lambda: "finishing what is under way" in supervised.err, "it was asked to stop")
        assert supervised.popen.poll() is None
        assert supervised.end() == 130
        _all_gone(supervised.pids())


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    made = Pipeline("sqlite", tmp_path / "flowguard-data")
    yield made
    made.close()


def _environment(**settings: str) -> dict[str, str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("FLOWGUARD_")}
    return outside | {f"FLOWGUARD_{name}": value for name, value in settings.items()}


def test_several_consumers_of_an_embedded_log_are_refused(tmp_path: Path, pipeline: Pipeline) -> None:
    done = subprocess.run(
        [FLOWGUARD, "consume", "--workers", "2"], cwd=tmp_path, env=_environment(), capture_output=True, check=False
    )
    assert done.returncode == 3
    assert "--workers: an embedded log has one consumer" in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1


def test_a_worker_says_its_number_and_drains_when_its_standard_input_ends(tmp_path: Path, pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a", "b"])
    with (tmp_path / "err").open("wb") as err:
        worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "flowguard", "consume"],
            cwd=tmp_path, env=_environment(WORKER="2"), stdin=subprocess.PIPE, stderr=err,
        )  # fmt: skip
    try:
        wait_until(lambda: "Merged 2 clicks" in (tmp_path / "err").read_text("utf-8"), "they landed")
        worker.communicate(timeout=DEADLINE_S)
    finally:
        worker.kill()
        worker.wait(DEADLINE_S)
    assert worker.returncode == 0
    lines = (tmp_path / "err").read_text("utf-8").splitlines()
    assert all(" worker 2: " in line for line in lines), lines


def test_each_static_member_has_a_name_of_its_own() -> None:
    settings = Settings(kafka={"group.instance.id": "shop", "client.id": "c"})
    assert worker_settings(settings, 3).kafka == {"group.instance.id": "shop-3", "client.id": "c"}
    dynamic = Settings(kafka={"client.id": "c"})
    assert worker_settings(dynamic, 3) is dynamic


@pytest.mark.parametrize(("text", "number"), [("2", 2), ("", None), ("two", None), (None, None)])
def test_the_number_of_a_worker_is_its_environments(
    monkeypatch: pytest.MonkeyPatch, text: str | None, number: int | None
) -> None:
    monkeypatch.delenv(WORKER, raising=False)
    if text is not None:
        monkeypatch.setenv(WORKER, text)
    assert worker_number() == number


def test_a_worker_that_cannot_be_started_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As with no memory for another process; here its program is missing, until it is there."""
    program = tmp_path / "worker"
    stop = threading.Event()
    retry = RetryPolicy(0.01, 1.0, 0.01)
    one = Supervisor([str(program)], 1, retry=retry, drain_s=5.0, final=frozenset({3}), jitter=lambda: 1.0)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(one.run(stop)))
    thread.start()
    wait_until(lambda: caplog.text.count("cannot be started") >= 2, "two tries")
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    thread.join(DEADLINE_S)
    assert codes == [3]
