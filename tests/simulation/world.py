"""A simulated world: one log, one sink, some consumers that come and go, producers, and what befalls them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from itertools import count
from random import Random
from typing import Any, TypeVar

from flowguard.adapters.memory import (
    MemoryDeadLetterQueue,
    MemoryEventSink,
    MemoryEventSource,
    MemoryLog,
)
from flowguard.application.ingest import Ingestion
from flowguard.application.writing import BatchWriter
from flowguard.domain.dead_letters import DeadLetterPolicy
from flowguard.domain.ingestor import Ingestor
from tests.simulation.errors import Violation
from tests.simulation.faults import Faults
from tests.simulation.happenings import Happenings
from tests.simulation.oracle import Oracle
from tests.simulation.plan import Plan
from tests.simulation.process import Process
from tests.simulation.producers import Producers
from tests.simulation.scheduler import Scheduler, SimClock
from tests.simulation.settling import Settling
from tests.simulation.streams import NEW, OLD, topic_of
from tests.simulation.warehouse import SimWarehouse

T = TypeVar("T")
_PATIENCE_S = 200.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What the world is built of: the real parts, or a mutant among them."""

    ingestor: type[Ingestor] = Ingestor
    ingestion: type[Ingestion] = Ingestion
    sink: type[MemoryEventSink] = MemoryEventSink
    source: type[MemoryEventSource] = MemoryEventSource
    warehouse: type[SimWarehouse] = SimWarehouse
    writer: type[BatchWriter] = BatchWriter


class World:
    """Made of a plan; `run` it once. Raises Violation."""

    def __init__(self, plan: Plan, parts: Parts) -> None:
        self.plan = plan
        self.parts = parts
        self.rng = Random(f"{plan.seed}/world")
        self.trace: list[tuple[object, ...]] = []
        self.scheduler = Scheduler()
        self.clock = SimClock(self.scheduler)
        self.faults = Faults(self.scheduler, self.trace)
        ids = count(1)
        self.log = MemoryLog(max_bytes=plan.log_bytes, now_ms=self.clock.now_ms, new_id=lambda: f"T{next(ids)}")
        self.warehouse = parts.warehouse()
        self.queue = MemoryDeadLetterQueue()
        self.version = OLD
        self.dead_letter_policy = plan.dead_letters
        self.topics = tuple(map(topic_of, plan.partitions))
        specs = plan.specs
        self.specs = {spec.value: spec for spec in specs}
        self.oracle = Oracle(self.warehouse, specs)
        self.producers = Producers(self)
        self.processes: list[Process] = []
        self.peace = False
        self.restart_at_peace = False
        self.upheavals = 0
        """How often a topic went or came, or the sink was set back."""
        self.settled_after = 0.0
        self._wanted = plan.consumers
        self._names = count(1)
        self._stops = 0

    # -- from beginning to end ---------------------------------------------------------------------------------------

    def run(self) -> None:
        plan, settling = self.plan, Settling(self)
        self.log.ensure({topic_of(stream): number for stream, number in plan.partitions.items()})
        for _ in range(plan.consumers):
            self.scheduler.after(self.rng.uniform(0.0, 0.5), self.start)
        self.producers.begin()
        happenings = Happenings(self)
        for fault in plan.faults:
            self.scheduler.after(fault.at, partial(happenings.begin, fault))
        for _ in range(2):
            self.scheduler.after(self.rng.uniform(0.0, plan.ends_at), settling.look)
        self.scheduler.run_until(plan.ends_at)
        self._make_peace()
        self._wait_until(settling.settled, "everything is resolved")
        self._wanted = 0
        for process in self.processes:
            process.leaving = True
        self._wait_until(lambda: not self.processes, "every consumer left")
        settling.check_all()
        self._check_faults()

    def _check_faults(self) -> None:
        """Every planned fault happened, or is counted as one that found nobody to happen to."""
        planned = Counter(fault.kind for fault in self.plan.faults)
        told = Counter({kind: self.faults.fired[kind] + self.faults.unfired[kind] for kind in planned})
        if planned != told:
            raise Violation("the simulation accounts for its faults", f"{planned} is not {told}")

    def _make_peace(self) -> None:
        """From here on nothing goes wrong any more; what is broken is mended in bounded time."""
        self.note("world", "peace")
        self.peace = True
        self.faults.end()
        for process in self.processes:
            process.freeze(0.0)
            # A sink that was set back is noticed at the next write; where none comes, people restart the consumers.
            process.leaving = process.leaving or self.restart_at_peace

    def _wait_until(self, done: Callable[[], bool], what: str) -> None:
        began = self.scheduler.now
        while not done():
            self.scheduler.run_until(self.scheduler.now + 0.1)
            if self.scheduler.now > began + _PATIENCE_S:
                raise Violation("liveness", f"{what} not within {_PATIENCE_S} s after the faults ended")
        self.settled_after = max(self.settled_after, self.scheduler.now - began)

    # -- consumers ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """One consumer more, if that is what is wanted."""
        if len(self.processes) >= self._wanted:
            return
        process = Process(self, f"c{next(self._names)}")
        process.note("starts", self.version)
        self.processes.append(process)
        self.scheduler.after(0.0, process.run)

    def want(self, more: int) -> None:
        """Scale up or down; `start` and leaving do the rest."""
        self._wanted = max(1, self._wanted + more)

    def ended(self, process: Process, *, expires: bool) -> None:
        """It crashed or left: the group learns of it, and its supervisor starts another one."""
        self.processes.remove(process)
        if expires:
            self.scheduler.after(self.rng.uniform(0.0, self.plan.session_s), process.source.inner.expire)
        self.scheduler.after(self.rng.choice((0.0, 0.1, 1.0, 5.0)) * self.rng.random(), self.start)

    def expire(self, process: Process) -> None:
        """The group gives up a member that stands still."""
        if process.alive and not self.peace:
            process.note("expired")
            process.source.inner.expire()

    def upgrade(self) -> None:
        """Consumers that start from now on know the newer schema version."""
        self.version = NEW
        self.oracle.versions.add(NEW)

    def line_stopped(self, process: Process, reason: str) -> None:
        """Somebody looks, mends it, and starts the consumer again."""
        process.note("line stopped", reason)
        self.faults.happened("storm")
        self._stops += 1
        if self._stops > 1 or self.rng.random() < 0.3:
            self.dead_letter_policy = DeadLetterPolicy(0, 0.0)
        else:
            self.upgrade()
        process.ingestion.close()
        process.die("stopped", expires=False)

    def goes_on(self) -> None:
        """Somebody outside waits for an answer."""
        self.scheduler.run_until(self.scheduler.now + self.rng.uniform(0.0, 0.3))

    # -- shorthand ---------------------------------------------------------------------------------------------------

    def latency_s(self) -> float:
        """One way over the network to the sink or the queue."""
        latency = self.plan.latency_s * self.rng.random()
        return latency + self.rng.random() if self.faults.during("sink_slow") else latency

    def note(self, *what: object) -> None:
        self.trace.append((round(self.scheduler.now, 6), *what))

    def digest(self) -> str:
        return hashlib.sha256(repr(self.trace).encode()).hexdigest()

    def fired(self) -> Counter[str]:
        return self.faults.fired


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns; the memory adapters never make it wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("a coroutine waited for something outside the simulation")
