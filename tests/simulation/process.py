"""One simulated consumer process: the real Ingestion and its parts, and what is checked of it step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import TYPE_CHECKING

from flowguard.application.ingest import LineStoppedError
from flowguard.application.ingest_ports import IngestPorts
from flowguard.domain.batching import Batch
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.ingestion import Assignment, RecordRun, TopicPartition
from flowguard.domain.rows import SinkBatch
from flowguard.domain.telemetry import FlowChanged, Happening
from flowguard.ports.telemetry import Telemetry
from tests.simulation.errors import Crash, Violation
from tests.simulation.ports import SimDeadLetters, SimSink, SimSource
from tests.simulation.streams import DECODERS, GROUP
from tests.simulation.worker import Job, SimWorker

if TYPE_CHECKING:
    from tests.simulation.world import World

_SPINS = 20
_SOON = 1e-6


@dataclass(slots=True)
class Root:
    """A batch as it was composed, before any bisection, and what its writes came to."""

    records: int
    bad: int
    refused: int = 0
    shrunk: int = 0  # how often partitions went meanwhile


class _Note(Telemetry):
    def __init__(self, process: Process) -> None:
        self._process = process

    def emit(self, happening: Happening) -> None:
        if isinstance(happening, FlowChanged):
            self._process.world.faults.happened("flow_paused" if happening.paused else "flow_resumed")
        else:
            self._process.note("told", type(happening).__name__)


class Process:
    """A consumer from its start to its end. `assigned`: what its source has told it, with the topic ids."""

    def __init__(self, world: World, name: str) -> None:
        plan, parts = world.plan, world.parts
        self.world = world
        self.name = name
        self.version = world.version
        self.alive = True
        self.leaving = False
        self.assigned: dict[TopicPartition, str] = {}
        self.told = 0
        self.activity = 0
        self.root: Root | None = None
        self._ahead: tuple[int, Root] | None = None  # of a batch that was composed while another was under way
        self._frozen_until = 0.0
        self._in_step = False
        self._waited = 0.0
        self._spins = 0
        self._held = 0
        self._largest_poll = 0
        self._polled = False
        self._read_failed_at = -1e9
        self._policy = world.dead_letter_policy
        self._longest = 0
        self._weighed: set[tuple[TopicPartition, int]] = set()
        self._streak = 0  # records in a row that were rejected, up to what was dead-lettered last
        self._offered: dict[TopicPartition, deque[tuple[float, int]]] = {}  # (when, next offset) of each run
        self._fed: dict[TopicPartition, int] = {}
        self.worker = SimWorker(self)
        self.source = SimSource(self, parts.source(world.log, GROUP, world.topics, fetch_bytes=plan.fetch_bytes))
        sink = SimSink(self, parts.sink(world.warehouse))
        self.machine = parts.ingestor(plan.batch, plan.retry, self._policy, plan.flow, world.rng.random)
        self.ingestion = parts.ingestion(
            IngestPorts(
                self.source, sink, SimDeadLetters(self, world.queue), world.clock, _Note(self), self.worker
            ),
            parts.writer(DECODERS[self.version], sink, world.clock),
            self.machine,
            owner=name,
            retry=plan.retry,
            jitter=world.rng.random,
            pace=plan.pace,
        )  # fmt: skip
        self._watch_compose()

    # -- its life ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """One step, and the next one after it."""
        world = self.world
        if not self.alive:
            return
        if self.frozen_for > 0:
            world.scheduler.after(self.frozen_for, self.run)
            return
        self._in_step = True
        self._waited = 0.0
        before, began = self.activity, world.scheduler.now
        self._polled = False
        try:
            if self.leaving:
                self.stop()
                return
            self.ingestion.step()
        except Crash:
            self.die("crashed")
            return
        except LineStoppedError as error:
            world.line_stopped(self, str(error))
            return
        except Exception as error:
            raise Violation("a step never raises", f"{type(error).__name__}: {error}") from error
        finally:
            self._in_step = False
        self._check_step(before, began)
        world.scheduler.after(max(self._waited, world.rng.uniform(0.000_1, 0.002)), self.run)

    def leave(self) -> None:
        """Asked to stop: it does before its next step."""
        self.leaving = True

    def stop(self) -> None:
        """Drain and leave, as at SIGTERM. Raises Crash."""
        self.note("stops")
        self.ingestion.drain()
        left = self.machine.stopped is None and (not self.machine.idle or self.worker.pending)
        self.ingestion.close()
        self.die("left", request_lands=True, expires=False)
        if left and self.world.settled_after and self.world.plan.pace.drain_s >= 1:
            raise Violation("a drain drains", f"{self.name} left with {self.machine.held_bytes} bytes held")

    def die(self, how: str, *, request_lands: bool = False, expires: bool = True) -> None:
        """Without a word. A request that is on its way may still land."""
        if not self.alive:
            return
        self.alive = False
        self.worker.request_lands = request_lands
        self.note(how)
        self.world.ended(self, expires=expires)

    def still_alive(self) -> None:
        if not self.alive:
            raise Crash

    # -- standing still ----------------------------------------------------------------------------------------------

    @property
    def frozen_for(self) -> float:
        """Seconds that the whole process stands still from now on."""
        return max(0.0, self._frozen_until - self.world.scheduler.now) if self.alive else 0.0

    def freeze(self, lasts_s: float) -> None:
        """The whole process stands still; the group gives it up after the session timeout."""
        world = self.world
        self._frozen_until = world.scheduler.now + lasts_s
        self._expire_after(lasts_s)

    def stall(self, lasts_s: float, *, whole: bool) -> None:
        """The polling thread stands still here and now, and with `whole` its worker too. Raises Crash."""
        world = self.world
        if whole:
            self.freeze(lasts_s)
        else:
            self._expire_after(lasts_s)
        world.scheduler.run_until(world.scheduler.now + lasts_s, lambda: world.peace or not self.alive)
        self._frozen_until = min(self._frozen_until, world.scheduler.now)
        self.activity += 1
        self.still_alive()

    def thaw(self) -> None:
        """Whoever waited while the process was frozen comes to when it thaws."""
        while self.frozen_for > 0:
            self.world.scheduler.run_until(self._frozen_until, lambda: self.world.peace or not self.alive)
            if self.world.peace:
                self._frozen_until = self.world.scheduler.now

    def _expire_after(self, lasts_s: float) -> None:
        world = self.world
        if lasts_s > world.plan.session_s:
            world.scheduler.after(world.plan.session_s, lambda: world.expire(self))

    # -- what it is told, and what it does ---------------------------------------------------------------------------

    def comes(self, assignments: Sequence[Assignment]) -> None:
        self.told += 1
        self.activity += 1
        for place, topic_id in assignments:
            self.assigned[place] = topic_id
            self.begins_reading(place, 0)

    def goes(self, partitions: Iterable[TopicPartition], how: str) -> None:
        gone = tuple(partitions)
        self.note(how, *sorted(map(str, gone)))
        self.told += 1
        self.activity += 1
        if self.root is not None:
            self.root.shrunk += 1
        for place in gone:
            self.assigned.pop(place, None)
            self._offered.pop(place, None)
        self.source.forget(gone)

    def begins_reading(self, place: TopicPartition, start: int) -> None:
        """What was read of it before counts no more."""
        self._fed[place] = start
        self._offered[place] = deque()

    def waited(self, timeout_s: float) -> None:
        """It waits, or would have waited, so long."""
        self._waited = max(self._waited, timeout_s)

    def read_fails(self) -> None:
        self._read_failed_at = self.world.scheduler.now

    def polls(self, timeout_s: float) -> None:
        self._polled = True
        oldest = self._oldest()
        if oldest is not None and not self.machine.busy:
            left = oldest + self.world.plan.batch.max_age_s - self.world.scheduler.now
            if timeout_s > max(0.0, left) + _SOON:
                raise Violation("7: max_age", f"{self.name} waits {timeout_s} s, its batch only {left} s")

    def received(self, runs: Sequence[RecordRun]) -> None:
        self.activity += 1
        self._largest_poll = max(self._largest_poll, sum(run.size_bytes for run in runs))
        for run in runs:
            self.note("read", str(run.partition), run.first_offset, run.next_offset)
            if run.partition in self.machine.owned and run.next_offset > self._fed[run.partition]:
                self._fed[run.partition] = run.next_offset
                self._offered[run.partition].append((self.world.scheduler.now, run.next_offset))

    def begins(self, what: str, partitions: Iterable[TopicPartition], assigned: Mapping[TopicPartition, str]) -> None:
        """Invariant 8, and 5: nothing begins after the partition went, or after the line stopped."""
        for place in partitions:
            if place not in assigned:
                raise Violation("8: nothing after revoked or lost", f"{self.name} begins a {what} for {place}")
        if self.machine.stopped is not None:
            raise Violation("5: a storm stops the line", f"{self.name} begins a {what} after it stopped")

    def begins_write(self, batch: SinkBatch) -> None:
        job = self.worker.current
        assert job is not None
        places = [rows.partition for rows in batch.rows] + [move.claim.partition for move in batch.moves]
        self.begins("write", places, job.assigned)

    def begins_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        job = self.worker.current
        assert job is not None
        ids = [letter.ingestion_id for letter in letters]
        self.begins("dead letter", (TopicPartition(one.topic, one.partition) for one in ids), job.assigned)
        self._weigh({(TopicPartition(one.topic, one.partition), one.offset) for one in ids}, job)

    def _weigh(self, rejected: set[tuple[TopicPartition, int]], job: Job) -> None:
        """Invariant 5: no more in a row become dead letters than the policy allows."""
        assert job.batch is not None
        if rejected <= self._weighed:
            return  # put once more
        self._weighed |= rejected
        for run in job.batch.runs:
            for offset in run.offsets:
                if (run.partition, offset) in rejected:
                    self._streak += 1
                    self._longest = max(self._longest, self._streak)
                elif (run.partition, offset) not in job.batch.excluded:
                    self._streak = 0
        if 0 < self._policy.max_consecutive < self._longest:
            raise Violation("5: a storm stops the line", f"{self._longest} dead letters in a row of {self.name}")

    def landed(self) -> None:
        self._streak = 0

    def refused(self) -> None:
        """Invariant 4: a refused write is paid for by a bad record, O(log n) times each."""
        job = self.worker.current
        root = None if job is None else job.root
        if root is None:
            return
        root.refused += 1
        # What partitions go from while it is written is not blamed for its refusal: that write is tried once more.
        allowed = root.bad * (ceil(log2(max(2, root.records))) + 1) + root.shrunk
        if root.refused > allowed:
            text = f"{root.refused} writes of {root.records} records were refused because of {root.bad} bad ones"
            raise Violation("4: a poison record costs itself only", text)

    def begins_batch(self, number: int) -> None:
        """It may be the one that was looked at ahead."""
        if self._ahead is not None and self._ahead[0] == number:
            _, self.root = self._ahead
            self._ahead = None

    def submitted(self, what: str) -> None:
        """A task was begun."""
        self.activity += 1
        work = self.machine._work
        if what == "_write" and work is not None:
            ends = dict(work.batch.positions)
            for place, end in ends.items():
                waiting = self._offered.get(place, deque())
                while waiting and waiting[0][1] <= end:
                    waiting.popleft()
            if fault := self.world.faults.take("frozen_with_write"):
                self.stall(fault.lasts_s, whole=True)
            elif self.world.faults.take("stop_with_write"):
                self.leaving = True
            elif fault := self.world.faults.take("stuck_poll_thread"):
                self.stall(fault.lasts_s, whole=False)

    # -- checks ------------------------------------------------------------------------------------------------------

    def _check_step(self, activity_before: int, began: float) -> None:
        machine, plan = self.machine, self.world.plan
        if not self._polled and began > self._read_failed_at + plan.retry.cap_s:
            raise Violation("6: polling goes on", f"{self.name} made a step without a poll")
        oldest = self._oldest()
        if oldest is not None and not machine.busy and oldest + plan.batch.max_age_s < began:
            raise Violation("7: max_age", f"{self.name} does nothing about records that were read at {oldest}")
        idle = self.activity == activity_before and self._waited < _SOON
        self._spins = self._spins + 1 if idle else 0
        if self._spins > _SPINS:
            raise Violation("no busy waiting", f"{self.name} made {self._spins} steps in a row without waiting")
        held = machine.held_bytes
        if held > plan.flow.high_bytes + self._largest_poll:
            raise Violation("6: memory is bounded", f"{self.name} holds {held} bytes")
        if held == self._held:
            return
        self._held = held
        work = machine._work
        batches = [] if work is None else [work.batch, *work.rest]
        batches += [] if machine._next is None else [machine._next]
        runs = [run for _, run in machine._waiting._runs] + [run for batch in batches for run in batch.runs]
        least = sum(sum(map(len, run.values)) + 100 * len(run) for run in runs)
        if held != sum(run.size_bytes for run in runs) or held < least:
            raise Violation("6: memory is bounded", f"{self.name} miscounts what it holds: {held}")

    def _oldest(self) -> float | None:
        owned = self.machine.owned
        return min((some[0][0] for place, some in self._offered.items() if some and place in owned), default=None)

    def _watch_compose(self) -> None:
        buffer = self.machine._waiting
        compose = buffer.compose

        def watched(number: int) -> Batch:
            batch = compose(number)
            specs = [self.world.specs[value] for run in batch.runs for value in run.values]
            bad = sum(spec.fate(self.version) is Reason.REJECTED_BY_SINK for spec in specs)
            root = Root(len(batch), bad)
            if self.machine.busy:
                self._ahead = batch.number, root
            else:
                self.root = root
            return batch

        buffer.compose = watched  # type: ignore[method-assign]

    def note(self, *what: object) -> None:
        self.world.note(self.name, *what)
