"""Several consumer processes in one group, under one that starts them again: `flowguard consume --workers N`."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flowguard.domain.errors import RetryPolicy
from flowguard.settings import Settings

WORKER = "FLOWGUARD_WORKER"
"""The environment variable that tells a worker its number, from 1 on. Its standard input ends when it is to drain."""

_MEMBER = "group.instance.id"
_LOOK_S = 0.05
_MARGIN_S = 5.0
"""What a worker may take beyond its own `drain_s`: to close its connections, and to end."""

_CREATION_FLAGS = 0
if sys.platform == "win32":
    _CREATION_FLAGS = subprocess.CREATE_NEW_PROCESS_GROUP

_log = logging.getLogger("flowguard.supervisor")


def worker_number() -> int | None:
    """The number of this process as a worker; None: it is none."""
    number = os.environ.get(WORKER, "")
    return int(number) if number.isdigit() else None


def worker_settings(settings: Settings, number: int) -> Settings:
    """Each static member of a group needs a name of its own: a `group.instance.id` gets the worker's number."""
    member = settings.kafka.get(_MEMBER)
    if member is None:
        return settings
    return settings.model_copy(update={"kafka": {**settings.kafka, _MEMBER: f"{member}-{number}"}})


def drain_with_supervisor(stop: Callable[[], None]) -> None:
    """Have `stop` called, from a thread, once the supervisor says so or is gone: standard input ends either way."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        stop()

    threading.Thread(target=wait, name="flowguard-supervised", daemon=True).start()


@dataclass(slots=True)
class _Worker:
    number: int
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    due_at: float = 0.0
    """When it is to be started (again)."""


class Supervisor:
    """Starts `workers` processes of `command`, and starts one that died again, after a growing pause.

    A worker that lived longer than the policy's longest pause is taken for sound: its next pause is a short one again.
    One that ends with an exit code in `final` stops them all: it would end so again, and a person has to look. `jitter`
    gives uniform floats in [0, 1]. Main thread only.

    A worker has a session of its own, so that a Ctrl-C at the terminal reaches the supervisor alone, and a pipe as its
    standard input. The pipe ends when they are to drain, and when the supervisor dies, however it does.
    """

    def __init__(
        self,
        command: Sequence[str],
        workers: int,
        *,
        retry: RetryPolicy,
        drain_s: float,
        final: frozenset[int],
        jitter: Callable[[], float],
    ) -> None:
        self._command = tuple(command)
        self._retry = retry
        self._drain_s = drain_s
        self._final = final
        self._jitter = jitter
        self._workers = [_Worker(number) for number in range(1, workers + 1)]

    def run(self, stop: threading.Event) -> int:
        """Until `stop` is set or a worker ends for good, then drain all; returns the exit code, 0 where it was asked.

        `stop` may be set by a signal handler.
        """
        code = 0
        try:
            while not stop.is_set() and not code:
                for worker in self._workers:
                    code = code or self._look_after(worker)
                # Not `stop.wait`: a handler that sets it while this thread holds its lock would wait for itself.
                time.sleep(_LOOK_S)
            drained = self._drain()
            return code or drained
        finally:
            self.kill()
            for worker in self._workers:
                _let_go(worker)

    def kill(self) -> None:
        """End all of them at once. May be called from a signal handler."""
        for worker in self._workers:
            if worker.process is not None:
                worker.process.kill()

    def _look_after(self, worker: _Worker) -> int:
        """Start it, or start it again. Returns its exit code where that is to end all."""
        now = time.monotonic()
        if worker.process is None:
            if now >= worker.due_at:
                try:
                    self._start(worker, now)
                except OSError as error:  # no memory or no process to be had: the others go on
                    pause = self._back_off(worker, now)
                    _log.warning("worker %d cannot be started (%s); again in %.1f s", worker.number, error, pause)
            return 0
        code = worker.process.poll()
        if code is None:
            return 0
        _let_go(worker)
        if code in self._final:
            _log.error("worker %d ended with exit code %d: all of them stop", worker.number, code)
            return code
        if now - worker.started_at > self._retry.cap_s:
            worker.failures = 0
        pause = self._back_off(worker, now)
        _log.warning("worker %d %s; it starts again in %.1f s", worker.number, _ended(code), pause)
        return 0

    def _back_off(self, worker: _Worker, now: float) -> float:
        """Put its next start off; returns for how many seconds."""
        pause = self._retry.delay_s(worker.failures, self._jitter())
        worker.failures += 1
        worker.due_at = now + pause
        return pause

    def _start(self, worker: _Worker, now: float) -> None:
        worker.started_at = now
        worker.process = subprocess.Popen(  # noqa: S603  # our own command
            self._command,
            env={**os.environ, WORKER: str(worker.number)},
            stdin=subprocess.PIPE,
            start_new_session=sys.platform != "win32",
            creationflags=_CREATION_FLAGS,
        )
        _log.info("worker %d is process %d", worker.number, worker.process.pid)

    def _drain(self) -> int:
        """Have all of them finish what is under way. Returns the exit code of one that ended for good meanwhile."""
        code = 0
        running = [worker for worker in self._workers if worker.process is not None]
        for worker in running:
            _hang_up(worker.process)
        deadline = time.monotonic() + self._drain_s + _MARGIN_S
        for worker in running:
            assert worker.process is not None  # noqa: S101  # narrows the type
            try:
                ended = worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.warning("worker %d did not finish in time; who starts next goes on where it stands", worker.number)
                continue
            code = code or (ended if ended in self._final else 0)
        return code


def _hang_up(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.stdin is not None:
        process.stdin.close()


def _let_go(worker: _Worker) -> None:
    """Of a process that ended, or was killed."""
    if worker.process is not None:
        worker.process.wait()
        _hang_up(worker.process)
        worker.process = None


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was ended by signal {-code}"
