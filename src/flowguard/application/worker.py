"""One thread beside the polling one: it writes, so that polling goes on while the sink takes its time."""

from __future__ import annotations

import queue
import threading
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Protocol

Outcome = Callable[[], None]
"""What a finished task has to tell; called on the polling thread."""

Task = Callable[[], Outcome]
"""Runs on the worker. It catches what its work raises, and tells of it in its outcome."""


class Worker(Protocol):
    """Runs tasks one after the other, in order."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Put the task last. Returns at once."""

    @abstractmethod
    def take(self, timeout_s: float) -> Outcome | None:
        """The outcome of the oldest finished task, waiting up to `timeout_s` seconds for one; None if there is none."""

    @property
    @abstractmethod
    def pending(self) -> int:
        """Tasks submitted whose outcome was not taken."""

    @abstractmethod
    def close(self) -> None:
        """Take no more; what is under way ends by itself. Idempotent."""


class ThreadWorker(Worker):
    """A daemon thread: a sink that hangs for ever cannot keep the process from ending.

    What a task raises against its promise is raised by its outcome.
    """

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._pending = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> None:
        self._pending += 1
        self._tasks.put(task)

    def take(self, timeout_s: float) -> Outcome | None:
        try:
            outcome = self._outcomes.get(block=timeout_s > 0, timeout=timeout_s or None)
        except queue.Empty:
            return None
        self._pending -= 1
        return outcome

    @property
    def pending(self) -> int:
        return self._pending

    def close(self) -> None:
        self._tasks.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait until what was submitted before `close` ended; False when it has not within `timeout_s` seconds."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                outcome = task()
            except BaseException as error:  # noqa: BLE001  # a panic of a compiled library: nobody may wait for ever
                outcome = partial(_raise, error)
            self._outcomes.put(outcome)


def _raise(error: BaseException) -> None:
    raise error
