"""The worker of a simulated process: its tasks run at a later simulated moment, as on a thread of their own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowguard.application.worker import Outcome, Task, Worker
from flowguard.domain.batching import Batch
from flowguard.domain.ingestion import TopicPartition
from tests.simulation.errors import Crash

if TYPE_CHECKING:
    from tests.simulation.process import Process, Root


@dataclass(frozen=True, slots=True)
class Job:
    """A task, and what its process knew when it was begun."""

    task: Task
    what: str
    assigned: dict[TopicPartition, str]
    root: Root | None
    batch: Batch | None


class SimWorker(Worker):
    """The effect of a task happens at one instant, between that of its submission and that of its reply."""

    def __init__(self, process: Process) -> None:
        self.current: Job | None = None
        self.request_lands = False
        self._process = process
        self._world = process.world
        self._waiting: deque[Job] = deque()
        self._done: deque[Outcome] = deque()
        self._pending = 0

    def submit(self, task: Task) -> None:
        what = task.__qualname__.split(".")[1]
        self._pending += 1
        work = self._process.machine._work
        batch = None if work is None else work.batch
        if batch is not None:
            self._process.begins_batch(batch.number)
        self._waiting.append(Job(task, what, dict(self._process.assigned), self._process.root, batch))
        if self.current is None:
            self._start()
        self._process.submitted(what)

    def take(self, timeout_s: float) -> Outcome | None:
        process = self._process
        if not self._done and timeout_s > 0:
            scheduler = self._world.scheduler
            process.waited(timeout_s)
            scheduler.run_until(scheduler.now + timeout_s, lambda: bool(self._done) or not process.alive)
            process.thaw()
            process.still_alive()
        if not self._done:
            return None
        self._pending -= 1
        process.activity += 1
        return self._done.popleft()

    @property
    def pending(self) -> int:
        return self._pending

    def close(self) -> None:
        self._waiting.clear()

    def _start(self) -> None:
        self.current = self._waiting.popleft()
        self._world.scheduler.after(self._world.latency_s(), self._run)

    def _run(self) -> None:
        process, job = self._process, self.current
        assert job is not None
        if process.frozen_for > 0:
            self._world.scheduler.after(process.frozen_for, self._run)
            return
        if not process.alive and not self.request_lands:
            return
        try:
            outcome = job.task()
        except Crash:
            process.die("crashed")
            return
        self._world.scheduler.after(self._world.latency_s(), lambda: self._finish(outcome))

    def _finish(self, outcome: Outcome) -> None:
        self._done.append(outcome)
        self.current = None
        if self._waiting:
            self._start()
