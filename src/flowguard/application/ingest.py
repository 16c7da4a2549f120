"""The shell around the ingestor: polls the source, carries decisions out through the ports, tells it what came of them.

One thread polls and drives the machine; a worker claims, writes and dead-letters. Every rule is the machine's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from flowguard.application.attempts import Attempts
from flowguard.application.ingest_ports import IngestPorts, Pace
from flowguard.application.worker import Outcome
from flowguard.application.writing import BatchWriter, Landed, letters_of
from flowguard.domain.dead_letters import Rejection
from flowguard.domain.decisions import Commit, DeadLetters, Decision, Pause, Resume, Stop, Write
from flowguard.domain.errors import FencedError, FlowGuardError, PermanentError, RetryPolicy, TransientError
from flowguard.domain.ingestion import Assignment, Claim, Position, TopicPartition
from flowguard.domain.ingestor import Ingestor
from flowguard.domain.telemetry import (
    FlowChanged,
    Happening,
    HistoryGone,
    LineStopped,
    OffsetsGone,
    PartitionsAssigned,
    PartitionsGone,
    PositionsCommitted,
    RecordsDeadLettered,
)
from flowguard.ports.source import RebalanceListener

_SLOW_S: Final = 1.0
"""A write that takes longer is not worth preparing the next one for: decoding takes hundredths of a second."""


class LineStoppedError(FlowGuardError):
    """The consumer stopped itself, and a person has to look: a storm of dead letters."""


class Ingestion(RebalanceListener):
    """One consumer: `run` until told to stop, or `step` by step.

    `owner` is for people to read in the sink's positions. `jitter` gives uniform floats in [0, 1]. What the sink has no
    position of is read from the earliest record on, or from the group's committed offset with `trusts_group`.
    """

    def __init__(
        self,
        ports: IngestPorts,
        writer: BatchWriter,
        machine: Ingestor,
        *,
        owner: str,
        retry: RetryPolicy,
        jitter: Callable[[], float],
        pace: Pace | None = None,
        trusts_group: bool = False,
    ) -> None:
        self._ports = ports
        self._writer = writer
        self._machine = machine
        self._owner = owner
        self._attempts = Attempts(retry, jitter, ports.clock, ports.telemetry)
        self._pace = pace or Pace()
        self._without_position = None if trusts_group else 0
        self._assigned: dict[TopicPartition, Assignment] = {}
        self._claims: dict[TopicPartition, Claim] = {}
        self._unclaimed: dict[TopicPartition, Assignment] = {}
        self._claiming: dict[TopicPartition, Assignment] | None = None  # None: the sink is not being asked
        self._uncommitted: dict[TopicPartition, int] = {}
        self._commit_at = 0.0
        self._write_s = 0.0  # what the last write took
        self._paused = False

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set, then drain and leave the group. Raises LineStoppedError, ConfigurationError."""
        try:
            while not stop.is_set():
                self.step()
            self.drain()
            self._halt_if_stopped()
        finally:
            self.close()

    def step(self) -> None:
        """Look at what came of the work, read, decide. Raises LineStoppedError, ConfigurationError."""
        self._collect(0.0)
        self._halt_if_stopped()
        self._claim()
        self._commit()
        wait = self._wait()
        if self._ports.worker.pending and (self._paused or self._machine.ready(self._now())):
            # Nothing to read, or enough for the next batch: the sooner the worker gets it, the better. But polling goes
            # on, or the group would think that we are gone.
            self._prepare_next()
            self._collect(wait)
            self._halt_if_stopped()
            wait = 0.0
        self._carry_out(self._machine.tick(self._now()))
        self._read(wait)
        self._halt_if_stopped()

    def drain(self) -> None:
        """Write and commit what is held, within the pace's `drain_s`. What is left is read again by the next owner."""
        deadline = self._now() + self._pace.drain_s
        self._ports.source.pause(self._machine.owned)
        self._paused = True
        self._carry_out(self._machine.drain(self._now()))
        while (not self._machine.idle or self._ports.worker.pending) and self._now() < deadline:
            if self._machine.stopped is not None:
                return
            self._collect(min(self._pace.busy_s, deadline - self._now()))
            self._carry_out(self._machine.tick(self._now()))
        self._commit(force=True)

    def _halt_if_stopped(self) -> None:
        if self._machine.stopped is not None:
            raise LineStoppedError(self._machine.stopped)

    def close(self) -> None:
        """Leave the group. Idempotent."""
        self._ports.worker.close()
        self._ports.source.close()

    # -- rebalances (called from inside poll) ------------------------------------------------------------------------

    def on_assigned(self, assignments: Sequence[Assignment]) -> None:
        partitions = [assignment.partition for assignment in assignments]
        self._carry_out(self._machine.lost(partitions, self._now()))  # where one comes anew without having gone
        self._forget(partitions)
        for assignment in assignments:
            self._assigned[assignment.partition] = assignment
            self._unclaimed[assignment.partition] = assignment

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self._carry_out(self._machine.release(partitions, self._now()))
        deadline = self._now() + self._pace.drain_s
        while self._touches(partitions) and self._now() < deadline:
            self._collect(min(self._pace.busy_s, deadline - self._now()))
        self._commit(force=True)
        self._carry_out(self._machine.revoked(partitions, self._now()))
        self._gone(partitions, "revoked")

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        self._carry_out(self._machine.lost(partitions, self._now()))
        self._gone(partitions, "lost")

    def on_gap(self, partition: TopicPartition, first: int, last: int) -> None:
        claim = self._claims.get(partition)
        if claim is not None and claim.next_offset is None and first == 0:
            self._tell(HistoryGone(partition, last + 1))  # it may be from before FlowGuard's time
        else:
            self._tell(OffsetsGone(partition, first, last))

    def _touches(self, partitions: Iterable[TopicPartition]) -> bool:
        return self._ports.worker.pending > 0 and not self._machine.under_way.isdisjoint(partitions)

    def _gone(self, partitions: Sequence[TopicPartition], how: str) -> None:
        self._forget(partitions)
        if partitions:
            self._tell(PartitionsGone(tuple(partitions), how))

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            for known in (self._assigned, self._unclaimed, self._claiming or {}, self._claims, self._uncommitted):
                known.pop(partition, None)

    # -- claiming ----------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        """Ask the sink where to start, and fence whoever wrote these partitions before."""
        # One claim at a time: of two in the queue, the later one would fence what was written under the earlier one.
        if not self._unclaimed or self._claiming is not None or not self._attempts.due("claim"):
            return
        self._claiming = dict(self._unclaimed)
        wanted = tuple(self._claiming.values())

        def task() -> Outcome:
            try:
                claims = self._ports.sink.claim(self._owner, wanted)
            except Exception as error:  # noqa: BLE001  # told to the polling thread
                return lambda error=error: self._claim_failed(error)  # type: ignore[misc]
            return lambda: self._claimed(wanted, claims)

        self._ports.worker.submit(task)

    def _claimed(self, wanted: Sequence[Assignment], claims: Sequence[Claim]) -> None:
        self._attempts.succeeded("claim")
        claiming, self._claiming = self._claiming or {}, None
        # What was revoked or assigned anew while the sink was asked is not in `claiming` any more, or is another one.
        ours = [
            claim
            for assignment, claim in zip(wanted, claims, strict=True)
            if claiming.get(claim.partition) is assignment
        ]
        for claim in ours:
            self._unclaimed.pop(claim.partition, None)
            self._claims[claim.partition] = claim
            if claim.next_offset is not None:
                # A crash may have come between a write and its commit; without new records there is no other one.
                self._uncommitted[claim.partition] = claim.next_offset
        decisions = self._machine.assigned({claim.partition: claim.next_offset for claim in ours}, self._now())
        # Where the sink has no position it has no rows, whatever was committed or read before (it may have been set
        # back to a time before its first row): all that the log keeps is to land, unless somebody knows better.
        starts = {
            claim.partition: self._without_position if claim.next_offset is None else claim.next_offset
            for claim in ours
        }
        self._ports.source.resume(starts)
        if starts:
            self._tell(PartitionsAssigned(tuple(starts.items())))
        self._carry_out(decisions)

    def _claim_failed(self, error: Exception) -> None:
        self._claiming = None
        self._attempts.failed("claim", error)

    # -- the loop's parts --------------------------------------------------------------------------------------------

    def _wait(self) -> float:
        """Seconds that reading may wait."""
        wait = self._pace.busy_s if self._ports.worker.pending else self._pace.idle_s
        times = [self._machine.wake_at, self._attempts.due_at("read")]
        # A delay of what is not to be tried any more must not keep the loop awake.
        if self._unclaimed and self._claiming is None:
            times.append(self._attempts.due_at("claim"))
        if self._uncommitted:
            # Both have to allow it: the earlier one alone would have the loop spin until the later one.
            times.append(max(self._commit_at, self._attempts.due_at("commit") or 0.0))
        return max(0.0, min([wait, *(at - self._now() for at in times if at is not None)]))

    def _read(self, wait: float) -> None:
        if not self._attempts.due("read"):
            self._collect(wait)
            return
        try:
            runs = self._ports.source.poll(wait, self)
        except TransientError as error:
            self._attempts.failed("read", error)
            return
        if runs or self._attempts.calm("read"):
            self._attempts.succeeded("read")
        self._carry_out(self._machine.offer(runs, self._now()))

    def _collect(self, timeout_s: float) -> None:
        """Take outcomes, waiting for one; with nothing under way it waits all the same, so that no loop runs hot."""
        outcome = self._ports.worker.take(timeout_s)
        while outcome is not None:
            outcome()
            outcome = self._ports.worker.take(0.0)

    def _commit(self, *, force: bool = False) -> None:
        """The sink has it already: a commit that fails is only a lag that looks too large, until the next one."""
        due = force or (self._attempts.due("commit") and self._now() >= self._commit_at)
        if not self._uncommitted or self._machine.stopped is not None or not due:
            return
        self._commit_at = self._now() + self._pace.commit_s
        positions = tuple(Position(partition, offset) for partition, offset in self._uncommitted.items())
        try:
            self._ports.source.commit(positions)
        except TransientError as error:
            self._attempts.failed("commit", error)
            return
        self._uncommitted.clear()
        self._attempts.succeeded("commit")
        self._tell(PositionsCommitted(positions))

    # -- decisions ---------------------------------------------------------------------------------------------------

    def _carry_out(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Write():
                    self._write(decision)
                case DeadLetters():
                    self._dead_letter(decision)
                case Commit(positions):
                    self._uncommitted.update(positions)
                case Pause(partitions):
                    self._flow(paused=True)
                    self._ports.source.pause(partitions)
                case Resume(partitions):
                    self._flow(paused=False)
                    self._ports.source.resume(dict.fromkeys(partitions))
                case Stop(reason):
                    self._tell(LineStopped(reason))

    def _flow(self, *, paused: bool) -> None:
        if paused != self._paused:
            self._tell(FlowChanged(paused, self._machine.held_bytes))
        self._paused = paused

    def _write(self, write: Write) -> None:
        claims = {advance.partition: self._claims[advance.partition] for advance in write.advances}
        started = self._now()

        def task() -> Outcome:
            try:
                result = self._writer.write(write, claims)
            except Exception as error:  # noqa: BLE001  # told to the machine, which holds and tries again
                return lambda error=error: self._write_failed(write, error)  # type: ignore[misc]
            if isinstance(result, Landed):
                return lambda: self._landed(write, result, started)
            return lambda: self._rejected(write, result)

        self._ports.worker.submit(task)

    def _prepare_next(self) -> None:
        """Decode while the sink is busy: it is most of our work, and the sink does its own elsewhere.

        Beside a slow sink that would save nothing, and hold its rows for long.
        """
        batch = self._machine.ahead() if self._write_s < _SLOW_S else None
        if batch is not None:
            self._writer.prepare(batch, {run.partition: self._claims[run.partition] for run in batch.runs})

    def _landed(self, write: Write, landed: Landed, started: float) -> None:
        self._attempts.succeeded("write")
        self._write_s = self._now() - started
        for happening in landed.happenings(self._write_s):
            self._tell(happening)
        self._carry_out(self._machine.written(write.batch, self._now()))
        self._commit()

    def _rejected(self, write: Write, rejections: list[Rejection]) -> None:
        self._carry_out(self._machine.rejected(write.batch, rejections, self._now()))

    def _write_failed(self, write: Write, error: Exception) -> None:
        if isinstance(error, FencedError):
            self._fenced(error)
        elif not isinstance(error, PermanentError):
            self._attempts.failed("write", error, hold=False)
        self._carry_out(self._machine.failed(write.batch, error, self._now()))

    def _fenced(self, error: FencedError) -> None:
        """Another consumer has it, or the sink was set back.

        If the source, polled again, still says that it is ours, it is claimed anew after a while, and read from where
        the sink stands.
        """
        still_ours = {p: self._assigned[p] for p in error.partitions if p in self._assigned}
        self._gone(error.partitions, "fenced")
        self._assigned.update(still_ours)
        self._unclaimed.update(still_ours)
        self._ports.source.pause(still_ours)
        if still_ours:
            self._attempts.failed("claim", error)

    def _dead_letter(self, decision: DeadLetters) -> None:
        batch, rejections = decision.batch, decision.rejections
        letters = letters_of(batch, rejections, self._claims)
        now = self._ports.clock.now()

        def task() -> Outcome:
            try:
                self._ports.dead_letters.put(letters, now)
            except Exception as error:  # noqa: BLE001  # told to the machine, which holds and tries again
                return lambda error=error: self._dead_letters_failed(decision, error)  # type: ignore[misc]
            return lambda: self._dead_lettered(decision)

        self._ports.worker.submit(task)

    def _dead_lettered(self, decision: DeadLetters) -> None:
        self._attempts.succeeded("dead letters")
        by_kind: dict[tuple[str, str], list[Rejection]] = {}
        for rejection in decision.rejections:
            by_kind.setdefault((rejection.partition.topic, rejection.reason), []).append(rejection)
        for (topic, _), some in by_kind.items():
            example = f"{some[0].partition} offset {some[0].offset}: {some[0].error}"
            self._tell(RecordsDeadLettered(self._writer.stream_of(topic), some[0].reason, len(some), example))
        self._carry_out(self._machine.dead_lettered(decision.batch, self._now()))

    def _dead_letters_failed(self, decision: DeadLetters, error: Exception) -> None:
        self._attempts.failed("dead letters", error, hold=False)
        # Whatever the queue says, it is not the batch's fault: only a write may blame its records.
        held = TransientError(f"the dead-letter queue failed: {error}")
        self._carry_out(self._machine.failed(decision.batch, held, self._now()))

    def _now(self) -> float:
        return self._ports.clock.monotonic()

    def _tell(self, happening: Happening) -> None:
        self._ports.telemetry.emit(happening)
