"""The ports as a simulated process sees them: the memory adapters, with faults on the way there and on the way back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from flowguard.adapters.memory import MemoryDeadLetterQueue, MemoryEventPublisher, MemoryEventSink, MemoryEventSource
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.errors import (
    ConfigurationError,
    FencedError,
    FlowGuardError,
    PermanentError,
    TransientError,
    UnknownOutcomeError,
)
from flowguard.domain.ingestion import Assignment, Claim, IngestionId, Position, RecordRun, TopicPartition
from flowguard.domain.rows import SinkBatch, WriteReport
from flowguard.ports.dead_letters import DeadLetterQueue, State, StoredDeadLetter
from flowguard.ports.publisher import EventPublisher, NewRecord, Receipt
from flowguard.ports.sink import EventSink
from flowguard.ports.source import EventSource, RebalanceListener
from tests.simulation.errors import Crash

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World


class SimSource(EventSource):
    """Never waits: it notes how long it would have waited, and the process goes on after that time."""

    def __init__(self, process: Process, inner: MemoryEventSource) -> None:
        self.inner = inner
        self._process = process
        self._faults = process.world.faults
        self._last: dict[TopicPartition, RecordRun] = {}
        self._first: dict[tuple[TopicPartition, str], RecordRun] = {}
        self._starts: dict[TopicPartition, int | None] = {}

    def poll(self, timeout_s: float, listener: RebalanceListener) -> Sequence[RecordRun]:
        process = self._process
        process.polls(timeout_s)
        if self._faults.during("log_down"):
            process.read_fails()
            raise TransientError("the log is down")
        told = process.told
        runs = list(self.inner.poll(0.0, _Listener(process, listener)))
        process.still_alive()
        if runs and self._faults.take("crash_in_poll"):
            raise Crash
        if runs and (fault := self._faults.take("frozen_in_poll")):
            process.stall(fault.lasts_s, whole=fault.pick < 0.5)
        runs = self._again(runs)
        if runs:
            process.received(runs)
        elif told == process.told:
            process.waited(timeout_s)
        return runs

    def _again(self, runs: list[RecordRun]) -> list[RecordRun]:
        """Records that come a second time: with what is new, or by themselves."""
        assigned = self._process.assigned
        for run in runs:
            self._first.setdefault((run.partition, assigned.get(run.partition, "")), run)
        stale = [
            run
            for (place, topic_id), run in self._first.items()
            if assigned.get(place) == topic_id and run.next_offset <= (self._starts.get(place) or 0)
        ]
        before = [run for run in self._last.values() if run.partition in assigned]
        for run in runs:
            self._last[run.partition] = run
        if stale and (fault := self._faults.take("stale_fetch")):
            runs = [stale[int(fault.pick * len(stale))], *runs]
        if before and (fault := self._faults.take("redelivery")):
            old = before[int(fault.pick * len(before))]
            at = next((index for index, run in enumerate(runs) if run.partition == old.partition), None)
            if at is None:
                runs = [old, *runs]
            else:
                runs[at] = _joined(old, runs[at])
        return runs

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """These went: what was read of them is not in the client's buffers any more."""
        for place in partitions:
            self._last.pop(place, None)
            self._starts.pop(place, None)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self.inner.pause(partitions)

    def resume(self, starts: Mapping[TopicPartition, int | None]) -> None:
        for place, start in starts.items():
            if start is not None:
                self._starts[place] = start
                self._last.pop(place, None)
                self._process.begins_reading(place, start)
        self.inner.resume(starts)

    def commit(self, positions: Iterable[Position]) -> None:
        process = self._process
        wanted = tuple(positions)
        process.begins("commit", (position.partition for position in wanted), process.assigned)
        if self._faults.during("log_down"):
            raise TransientError("the log is down")
        if self._faults.take("crash_before_commit"):
            raise Crash
        if fault := self._faults.take("frozen_before_commit"):
            process.stall(fault.lasts_s, whole=fault.pick < 0.5)
        process.world.oracle.committed(process, wanted)
        self.inner.commit(wanted)
        process.note("commit", *(f"{position.partition}:{position.next_offset}" for position in wanted))
        if self._faults.take("crash_after_commit"):
            raise Crash
        if self._faults.take("commit_unknown"):
            raise UnknownOutcomeError("the reply was lost")

    def close(self) -> None:
        self.inner.close()


def _joined(old: RecordRun, new: RecordRun) -> RecordRun:
    """One run of both, where they do not overlap."""
    if old.next_offset > new.first_offset:
        return old
    return RecordRun(
        new.partition,
        [*old.offsets, *new.offsets],
        [*old.values, *new.values],
        [*old.timestamps_ms, *new.timestamps_ms],
        [*(old.keys or [None] * len(old)), *(new.keys or [None] * len(new))],
        [*(old.headers or [()] * len(old)), *(new.headers or [()] * len(new))],
    )


class _Listener(RebalanceListener):
    """Notes what the process knows to be its own, at the instants that the port promises."""

    def __init__(self, process: Process, inner: RebalanceListener) -> None:
        self._process = process
        self._inner = inner

    def on_assigned(self, assignments: Sequence[Assignment]) -> None:
        self._process.note("assigned", *map(str, assignments))
        self._process.comes(assignments)
        self._inner.on_assigned(assignments)

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self._process.note("revoking", *map(str, partitions))
        self._inner.on_revoked(partitions)
        self._process.goes(partitions, "revoked")

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        self._process.goes(partitions, "lost")
        self._inner.on_lost(partitions)

    def on_gap(self, partition: TopicPartition, first: int, last: int) -> None:
        self._process.note("gap", f"{partition} {first} to {last}")
        self._inner.on_gap(partition, first, last)


class SimSink(EventSink):
    """A sink at the other end of a network."""

    def __init__(self, process: Process, inner: MemoryEventSink) -> None:
        self._process = process
        self._world = process.world
        self._inner = inner

    def claim(self, owner: str, assignments: Sequence[Assignment]) -> Sequence[Claim]:
        faults = self._world.faults
        self._meet_outage()
        if faults.take("crash_before_claim"):
            raise Crash
        claims = self._inner.claim(owner, assignments)
        self._world.oracle.claimed(self._process.name, assignments, claims)
        self._process.note("claim", *(f"{one.partition}@{one.incarnation}:{one.next_offset}" for one in claims))
        if faults.take("crash_after_claim"):
            raise Crash
        if faults.take("claim_unknown"):
            raise UnknownOutcomeError("the reply was lost")
        return claims

    def write(self, batch: SinkBatch) -> WriteReport:
        faults, process = self._world.faults, self._process
        process.begins_write(batch)
        self._meet_outage()
        if faults.take("crash_before_write"):
            raise Crash
        if faults.take("write_raises_bug"):
            raise ZeroDivisionError("a bug of the sink's client")
        if faults.take("write_unknown"):
            raise UnknownOutcomeError("the connection broke")
        if fault := faults.take("write_lands_late"):
            self._world.scheduler.after(fault.lasts_s, lambda: self._land_late(batch))
            raise UnknownOutcomeError("no answer in time")
        report = self._land(batch, "write")
        if faults.take("crash_after_write"):
            raise Crash
        if faults.take("write_unknown_landed"):
            raise UnknownOutcomeError("the reply was lost")
        return report

    def _land(self, batch: SinkBatch, how: str) -> WriteReport:
        oracle, process = self._world.oracle, self._process
        oracle.before_write(batch)
        moves = [f"{m.claim.partition}@{m.claim.incarnation}:{m.expected}>{m.next_offset}" for m in batch.moves]
        try:
            report = self._inner.write(batch)
        except FencedError as error:
            process.note("fenced", how, *moves)
            self._world.faults.happened("fenced")
            if how == "write":
                oracle.fenced(process.name, batch.moves)
            raise FencedError(error.partitions) from error
        except PermanentError as error:
            process.note("refused", how, *moves)
            if how == "write":
                process.refused()
            names = self._world.plan.sink_names
            raise PermanentError(str(error), error.rows[: {"all": None, "first": 1, "none": 0}[names]]) from error
        merged = [f"{name}+{one.inserted}/{one.duplicates}" for name, one in report.merged.items()]
        process.note(how, *moves, *merged)
        if len(batch) or batch.filtered:
            process.landed()
        oracle.wrote(batch.moves, process.version, process.name)
        return report

    def _land_late(self, batch: SinkBatch) -> None:
        with suppress(FlowGuardError):  # nobody is there to be told
            self._land(batch, "late write")

    def _meet_outage(self) -> None:
        if self._world.faults.during("sink_down"):
            errors = (TransientError, UnknownOutcomeError, ConfigurationError, OSError)
            raise self._world.rng.choice(errors)("the sink is down")

    def check(self) -> None:
        self._inner.check()

    def close(self) -> None:
        self._inner.close()


class SimDeadLetters(DeadLetterQueue):
    """The queue at the other end of a network. What only people use is passed on as it is."""

    def __init__(self, process: Process, inner: MemoryDeadLetterQueue) -> None:
        self._process = process
        self._world = process.world
        self._inner = inner

    def put(self, letters: Sequence[DeadLetter], now: datetime) -> None:
        faults, process = self._world.faults, self._process
        process.begins_dead_letters(letters)
        if faults.during("dead_letters_down"):
            raise self._world.rng.choice((TransientError, ConfigurationError, OSError))("the queue is down")
        if faults.take("dead_letters_refused_for_good"):
            raise PermanentError("the queue refuses these")
        if faults.take("crash_before_dead_letters"):
            raise Crash
        self._inner.put(letters, now)
        process.note("dead letters", *(f"{letter.ingestion_id} {letter.reason}" for letter in letters))
        self._world.oracle.dead_lettered(letters, process.version)
        if faults.take("crash_after_dead_letters"):
            raise Crash
        if faults.take("dead_letters_unknown"):
            raise UnknownOutcomeError("the reply was lost")

    def page(
        self, *, topic: str | None = None, reason: Reason | None = None, state: State | None = None,
        limit: int = 100, after: IngestionId | None = None,
    ) -> Sequence[StoredDeadLetter]:  # fmt: skip
        return self._inner.page(topic=topic, reason=reason, state=state, limit=limit, after=after)

    def mark(self, ids: Sequence[IngestionId], state: State, now: datetime) -> int:
        return self._inner.mark(ids, state, now)

    def offsets(self, partition: TopicPartition, incarnation: int) -> OffsetRanges:
        return self._inner.offsets(partition, incarnation)

    def close(self) -> None:
        self._inner.close()


class SimPublisher(EventPublisher):
    """The producers' side of the log."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._inner = MemoryEventPublisher(world.log)

    async def publish(self, topic: str, records: Sequence[NewRecord]) -> Receipt:
        if self._world.faults.during("log_down"):
            raise TransientError("the log is down")
        receipt = await self._inner.publish(topic, records)
        self._world.oracle.logged(topic, receipt, records)
        self._world.note("log", receipt.topic_id, *(f"{partition}:{offset}" for partition, offset in receipt.places))
        if self._world.faults.take("publish_unknown"):
            raise UnknownOutcomeError("the reply was lost")
        return receipt

    async def check(self) -> None:
        await self._inner.check()

    async def close(self) -> None:
        await self._inner.close()
