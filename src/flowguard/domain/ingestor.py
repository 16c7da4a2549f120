"""The sans-I/O machine between a log and a sink: it is told facts, and answers with decisions.

One batch is under way at a time, and every partition is resolved in log order, so the position to commit is simply the
end of what was resolved last. What makes a batch safe:

- a batch lands wholly or not at all; its records that can never land are found first, dead-lettered durably, excluded,
  and only then is the rest written together with the positions (so a crash in between repeats the dead letters, which
  are idempotent by position, and loses nothing);
- a permanent failure that names no record is bisected;
- anything else is held and tried again, for as long as it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from flowguard.domain.batching import Batch, BatchPolicy, FlowPolicy
from flowguard.domain.buffer import Buffer
from flowguard.domain.dead_letters import DeadLetterPolicy, Reason, Rejection, StormGauge
from flowguard.domain.decisions import Advance, Commit, DeadLetters, Decision, Pause, Resume, Stop, Write
from flowguard.domain.errors import FencedError, PermanentError, RetryPolicy
from flowguard.domain.ingestion import Position, RecordRun, TopicPartition


@dataclass(slots=True)
class _Work:
    """What is under way: the batch, the rest of it after a bisection, and what is being done or waited for."""

    batch: Batch
    rest: list[Batch] = field(default_factory=list)  # later in the log; the next one last
    doing: Literal["write", "dead_letters"] = "write"  # what the caller was asked for last
    rejections: tuple[Rejection, ...] = ()  # to be dead-lettered before the batch is written
    attempt: int = 0
    retry_at: float | None = None  # None: the caller is at it


class Ingestor:
    """See the module. `now` is in seconds, monotonic; `jitter` gives uniform floats in [0, 1].

    Facts that come late (a write that ends after its partitions were revoked) are allowed and have no effect on what is
    gone. After Stop, every fact is answered with no decision.
    """

    def __init__(
        self,
        batch: BatchPolicy,
        retry: RetryPolicy,
        dead_letters: DeadLetterPolicy,
        flow: FlowPolicy,
        jitter: Callable[[], float],
    ) -> None:
        self._retry = retry
        self._flow = flow
        self._jitter = jitter
        self._gauge = StormGauge(dead_letters)
        self._gauged: set[int] = set()  # batches whose records the gauge has counted
        self._numbers = count(1)
        self._positions: dict[TopicPartition, int | None] = {}  # the sink's, for each owned partition
        self._leaving: set[TopicPartition] = set()  # owned, but nothing new of them is begun
        self._fed: dict[TopicPartition, int] = {}  # where reading goes on: anything below was offered before
        self._waiting = Buffer(batch)
        self._work: _Work | None = None
        self._next: Batch | None = None  # composed while another is under way
        self._paused = False
        self._draining = False
        self.stopped: str | None = None

    # -- what the caller may ask -------------------------------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """Bytes offered and not yet resolved."""
        work = self._work
        under_way = 0 if work is None else work.batch.size_bytes + sum(b.size_bytes for b in work.rest)
        return self._waiting.size_bytes + under_way + (0 if self._next is None else self._next.size_bytes)

    @property
    def idle(self) -> bool:
        """Nothing is held and nothing is under way."""
        return self._work is None and self._next is None and not self._waiting

    @property
    def busy(self) -> bool:
        """A Write or DeadLetters is with the caller, or waits to be tried again."""
        return self._work is not None

    @property
    def owned(self) -> frozenset[TopicPartition]:
        return frozenset(self._positions)

    @property
    def under_way(self) -> frozenset[TopicPartition]:
        """Partitions of the batch that is with the caller, or waits to be tried again."""
        return frozenset() if self._work is None else frozenset(run.partition for run in self._work.batch.runs)

    def ready(self, now: float) -> bool:
        """Another batch is due, and would be written if none were under way."""
        return self._next is not None or self._waiting.due(now)

    def ahead(self) -> Batch | None:
        """The full batch that will be written after the one that is under way, once; None where there is none.

        The caller may use the time to prepare it. Partitions may still be taken out of it; its number stays.
        """
        if self._work is None or self._next is not None or not self._waiting.full or self.stopped is not None:
            return None
        self._next = self._waiting.compose(next(self._numbers))
        return self._next

    @property
    def wake_at(self) -> float | None:
        """When `tick` has something to do, if nothing else happens before. None: never."""
        if self.stopped is not None:
            return None
        if self._work is not None:
            return self._work.retry_at
        return self._waiting.due_at

    # -- facts -------------------------------------------------------------------------------------------------------

    def assigned(self, positions: Mapping[TopicPartition, int | None], now: float) -> list[Decision]:
        """These partitions are ours; the sink's position of each, None where it has none."""
        decisions = self.lost(positions, now)
        self._positions.update(positions)
        # What lies below the sink's position is resolved; offered again, it would go where everything is new.
        self._fed.update({place: reached for place, reached in positions.items() if reached is not None})
        if self._paused and positions and self.stopped is None:
            decisions.append(Pause(tuple(positions)))
        return decisions

    def offer(self, runs: Iterable[RecordRun], now: float) -> list[Decision]:
        """Records were read. Those of partitions that are not ours, or that were offered before, are passed over."""
        for offered in runs:
            place = offered.partition
            if place not in self._positions or place in self._leaving or self.stopped is not None:
                continue
            fed = self._fed.get(place)
            run: RecordRun | None = offered
            if fed is not None and offered.first_offset < fed:
                run = _from_offset(offered, fed)
            if run is None:
                continue
            self._fed[place] = run.next_offset
            self._waiting.add(run, now)
        return self._decide(now)

    def tick(self, now: float) -> list[Decision]:
        """Time went by."""
        return self._decide(now)

    def written(self, batch: Batch, now: float) -> list[Decision]:
        """The batch landed, and the positions with it."""
        work = self._work
        if work is None or work.batch.number != batch.number or self.stopped is not None:
            return []
        if batch.number not in self._gauged:
            self._gauge.landed(len(batch))
        # What was revoked meanwhile is no longer ours to commit: only what is left of the batch counts.
        done = [Position(p, self._reached(p, offset)) for p, offset in work.batch.positions]
        self._positions.update(done)
        self._next_batch(work)
        commit: list[Decision] = [Commit(tuple(done))] if done else []
        return commit + self._decide(now)

    def rejected(self, batch: Batch, rejections: Iterable[Rejection], now: float) -> list[Decision]:
        """These records of the batch can never land. Nothing of it was written."""
        work = self._work
        if work is None or work.batch.number != batch.number or self.stopped is not None:
            return []
        ours = {run.partition for run in work.batch.runs}  # some may have been revoked meanwhile
        work.rejections = tuple(r for r in rejections if r.partition in ours)
        self._drop(work, self._leaving)
        self._weigh(work)
        if self._gauge.verdict is not None:
            return self._stop(f"a storm of dead letters: {self._gauge.verdict}; the last: {_tell(work.rejections)}")
        work.attempt = 0
        work.retry_at = now
        return self._decide(now)

    def dead_lettered(self, batch: Batch, now: float) -> list[Decision]:
        """The rejections of the batch are durable in the dead-letter queue."""
        work = self._work
        if work is None or work.batch.number != batch.number or self.stopped is not None:
            return []
        work.batch = work.batch.excluding((r.partition, r.offset) for r in work.rejections)
        self._drop(work, self._leaving)
        work.rejections = ()
        work.attempt = 0
        work.retry_at = now
        return self._decide(now)

    def failed(self, batch: Batch, error: Exception, now: float) -> list[Decision]:
        """A Write or DeadLetters failed; nothing of the batch landed, or nobody knows (then trying again is harmless).

        Only a PermanentError of a write blames the records. Every other error, a bug included, is held and tried again.
        """
        work = self._work
        if work is None or work.batch.number != batch.number or self.stopped is not None:
            return []
        self._drop(work, self._leaving)
        if isinstance(error, PermanentError) and work.doing == "write" and len(work.batch) > 0:
            return self._blame(work, batch, error, now)
        work.retry_at = now + self._retry.delay_s(work.attempt, self._jitter())
        work.attempt += 1
        if isinstance(error, FencedError):
            if any(run.partition in error.partitions for run in batch.runs):
                work.retry_at = now  # the rest of the batch is not held up by what goes
            return self.lost(error.partitions, now)
        return []

    def release(self, partitions: Iterable[TopicPartition], now: float) -> list[Decision]:
        """These partitions will be revoked: nothing new of them is begun. What is with the caller may still end."""
        leaving = frozenset(partitions) & self._positions.keys()
        self._leaving |= leaving
        self._forget(leaving)
        work = self._work
        if work is not None:
            work.rest = [later.without_partitions(leaving) for later in work.rest]
            if work.retry_at is not None:  # not with the caller: it only waits to be tried again
                self._drop(work, leaving)
        return self._decide(now)

    def revoked(self, partitions: Iterable[TopicPartition], now: float) -> list[Decision]:
        """These partitions go to somebody else. The caller drained what it wanted to (`release`) before it says so."""
        return self.lost(partitions, now)

    def lost(self, partitions: Iterable[TopicPartition], now: float) -> list[Decision]:
        """These partitions are gone already: nothing held of them is written or committed from here on."""
        gone = frozenset(partitions) & self._positions.keys()
        self._forget(gone)
        if self._work is not None:
            self._drop(self._work, gone)
        self._leaving -= gone
        for place in gone:
            del self._positions[place]
            self._fed.pop(place, None)
        return self._decide(now)

    def drain(self, now: float) -> list[Decision]:
        """No more will be read: write what is held without waiting for its age. Done when `idle`."""
        self._draining = True
        return self._decide(now)

    # -- how it decides ----------------------------------------------------------------------------------------------

    def _decide(self, now: float) -> list[Decision]:
        if self.stopped is not None:
            return []
        decisions: list[Decision] = []
        work = self._work
        while work is not None and work.retry_at is not None and not work.batch.runs:
            work = self._next_batch(work)  # all of it was lost, and nothing of it is with the caller
        if work is None and self._next is not None:
            work, self._next = _Work(self._next, retry_at=now), None
            self._work = work
        elif work is None and (self._waiting.due(now) or (self._draining and self._waiting)):
            work = self._work = _Work(self._waiting.compose(next(self._numbers)), retry_at=now)
        if work is not None and work.retry_at is not None and work.retry_at <= now:
            work.retry_at = None
            work.doing = "dead_letters" if work.rejections else "write"
            if work.rejections:
                decisions.append(DeadLetters(work.batch, work.rejections))
            else:
                decisions.append(Write(work.batch, self._advances(work.batch)))
        self._steer_flow(decisions)
        return decisions

    def _advances(self, batch: Batch) -> tuple[Advance, ...]:
        return tuple(
            Advance(place, self._positions[place], self._reached(place, offset)) for place, offset in batch.positions
        )

    def _reached(self, place: TopicPartition, offset: int) -> int:
        """A position never goes back, whatever was redelivered."""
        return max(self._positions[place] or 0, offset)

    def _next_batch(self, work: _Work) -> _Work | None:
        self._gauged.discard(work.batch.number)
        self._work = _Work(work.rest.pop(), work.rest, retry_at=float("-inf")) if work.rest else None
        return self._work

    def _blame(self, work: _Work, written: Batch, error: PermanentError, now: float) -> list[Decision]:
        """Whose fault is it? The sink says so, or the batch is one record, or it is cut in two."""
        batch = work.batch
        wanted = {(run.partition, offset) for run in batch.runs for offset in run.offsets} - batch.excluded
        faults = {(row.partition, row.offset): row.error for row in error.rows}
        named = tuple(
            Rejection(*place, Reason.REJECTED_BY_SINK, fault) for place, fault in faults.items() if place in wanted
        )
        if not named and len(batch.runs) < len(written.runs):
            # Partitions went while it was written: the fault may have gone with them, so what is left is not blamed.
            work.retry_at = now
            return self._decide(now)
        if not named and len(batch) == 1:
            named = (Rejection(*wanted.pop(), Reason.REJECTED_BY_SINK, str(error)),)
        if named:
            return self.rejected(batch, named, now)
        first, second = batch.halves(self._numbers)
        if batch.number in self._gauged:
            self._gauged.remove(batch.number)
            self._gauged.update((first.number, second.number))
        self._work = _Work(first, [*work.rest, second], retry_at=now)
        return self._decide(now)

    def _weigh(self, work: _Work) -> None:
        """Tell the gauge of the rejections, in log order, among the records of the batch around them."""
        batch, rejections = work.batch, work.rejections
        if batch.number in self._gauged or not rejections:
            self._gauge.rejected(len(rejections))
            return
        self._gauged.add(batch.number)
        bad = {(r.partition, r.offset) for r in rejections}
        for run in batch.runs:
            clean = 0
            for offset in run.offsets:
                if (run.partition, offset) in bad:
                    self._gauge.landed(clean)
                    self._gauge.rejected(1)
                    clean = 0
                else:
                    clean += 1
            self._gauge.landed(clean)

    def _forget(self, gone: Collection[TopicPartition]) -> None:
        """Take these partitions out of what was not begun yet."""
        self._waiting.drop(gone)
        if self._next is not None:
            left = self._next.without_partitions(gone)
            self._next = left if left.runs else None

    def _drop(self, work: _Work, gone: Collection[TopicPartition]) -> None:
        """Take these partitions out of what is under way. A batch that is left empty goes with the next decision."""
        if not gone:
            return
        work.batch = work.batch.without_partitions(gone)
        work.rest = [later.without_partitions(gone) for later in work.rest]
        work.rejections = tuple(r for r in work.rejections if r.partition not in gone)

    def _steer_flow(self, decisions: list[Decision]) -> None:
        held = self.held_bytes
        if not self._paused and held >= self._flow.high_bytes:
            self._paused = True
            decisions.append(Pause(tuple(self._positions)))
        elif self._paused and held <= self._flow.low_bytes:
            self._paused = False
            decisions.append(Resume(tuple(self._positions)))

    def _stop(self, reason: str) -> list[Decision]:
        self.stopped = reason
        return [Stop(reason)]


def _from_offset(run: RecordRun, offset: int) -> RecordRun | None:
    """What of the run is at or past the offset."""
    start = next((index for index, at in enumerate(run.offsets) if at >= offset), len(run))
    return run.part(start, len(run)) if start < len(run) else None


def _tell(rejections: tuple[Rejection, ...]) -> str:
    last = rejections[-1]
    return f"{last.partition} offset {last.offset}: {last.reason} ({last.error})"
