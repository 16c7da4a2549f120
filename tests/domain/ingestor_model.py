"""An independent model of what the ingestor may ask for.

What it may not do is noted as (number of the invariant in the design, what it did).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from flowguard.domain.batching import Batch, BatchPolicy, FlowPolicy
from flowguard.domain.dead_letters import DeadLetterPolicy
from flowguard.domain.decisions import Commit, DeadLetters, Decision, Pause, Resume, Stop, Write
from flowguard.domain.errors import (
    RetryPolicy,
)
from flowguard.domain.ingestion import RECORD_OVERHEAD, RecordRun, TopicPartition
from flowguard.domain.ingestor import Ingestor

PLACES = tuple(TopicPartition("raw.clicks.v1", number) for number in range(3))
ONE_AT_A_TIME = 0
"""Noted beside the nine: at most one Write or DeadLetters is with the caller."""

SMALL_BATCHES = BatchPolicy(max_records=4, max_bytes=900, max_age_s=0.5)
SHORT_RETRIES = RetryPolicy(initial_s=0.1, cap_s=1.0)
NO_STORM = DeadLetterPolicy(max_consecutive=0, max_ratio=0)
NARROW_FLOW = FlowPolicy(high_bytes=1_500, low_bytes=600)

Place = tuple[TopicPartition, int]


@dataclass(frozen=True)
class Policies:
    """Small ones, so that few records reach every bound. No storm stops the line, unless a test wants it."""

    batch: BatchPolicy = SMALL_BATCHES
    retry: RetryPolicy = SHORT_RETRIES
    dead_letters: DeadLetterPolicy = NO_STORM
    flow: FlowPolicy = NARROW_FLOW
    jitter: float = 0.5

    def machine(self) -> Ingestor:
        return Ingestor(self.batch, self.retry, self.dead_letters, self.flow, lambda: self.jitter)


@dataclass
class Term:
    """One time that a partition is ours, from assigned to gone."""

    position: int | None
    fed: int
    offered: list[int] = field(default_factory=list)
    resolved: set[int] = field(default_factory=set)
    committed: int = 0
    leaving: bool = False
    flowing: bool = True


def run_of(place: TopicPartition, offsets: list[int]) -> RecordRun:
    return RecordRun(place, offsets, [value_at(offset) for offset in offsets], [0] * len(offsets))


def value_at(offset: int) -> bytes:
    return b"x" * (offset * 37 % 90)


def records_of(batch: Batch) -> list[Place]:
    """What the batch is to write."""
    every = [(run.partition, offset) for run in batch.runs for offset in run.offsets]
    return [one for one in every if one not in batch.excluded]


@dataclass
class Model:
    """What the machine may do next, told by what it was told. `_told` checks its answers."""

    policies: Policies = field(default_factory=Policies)
    now: float = 100.0
    violations: list[tuple[int, str]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    """Everything that the machine asked for, ever."""

    def __post_init__(self) -> None:
        self.machine = self.policies.machine()
        self.log: dict[TopicPartition, list[int]] = {place: [] for place in PLACES}
        self.sink: dict[TopicPartition, int | None] = dict.fromkeys(PLACES)
        self.terms: dict[TopicPartition, Term] = {}
        self.held: dict[Place, float] = {}  # record: when it was offered
        self.dead: set[Place] = set()
        self.blamed: set[Place] = set()
        self.outstanding: Write | DeadLetters | None = None
        self.in_flight: dict[TopicPartition, Term] = {}
        self.answered: list[Batch] = []
        self.holding = False  # something failed, and is to be tried again
        self.stopped = False
        self.draining = False
        self.paused = False

    def must(self, invariant: int, holds: bool, text: str) -> None:
        if not holds:
            self.violations.append((invariant, text))

    # -- the model ---------------------------------------------------------------------------------------------------

    def _offered(self, runs: list[RecordRun]) -> None:
        if self.draining:
            return
        for run in runs:
            term = self.terms.get(run.partition)
            if term is None or term.leaving or self.stopped:
                continue
            for offset in run.offsets:
                if offset >= term.fed:
                    term.offered.append(offset)
                    self.held[run.partition, offset] = self.now
            term.fed = max(term.fed, run.next_offset)
        self._told(self.machine.offer(runs, self.now))

    def _goes(self, place: TopicPartition) -> None:
        self.terms.pop(place, None)
        self._forget(place)

    def _leave(self, *, unless_in_flight: bool = False) -> None:
        """Of what is leaving, nothing is held but what is with the caller."""
        at_work = self._still_ours(self.outstanding.batch, every=True) if self.outstanding and unless_in_flight else []
        for place, term in self.terms.items():
            if term.leaving:
                self._forget(place, but=at_work)

    def _forget(self, place: TopicPartition, but: Iterable[Place] = ()) -> None:
        kept = set(but)
        self.held = {one: at for one, at in self.held.items() if one[0] != place or one in kept}

    def _ended(self, decision: Write | DeadLetters) -> None:
        self.outstanding = None
        self.answered.append(decision.batch)

    def _applied(self, write: Write) -> None:
        for advance in write.advances:
            self.sink[advance.partition] = max(self.sink[advance.partition] or 0, advance.next_offset)
            term = self.terms.get(advance.partition)
            if term is not None and term is self.in_flight.get(advance.partition) and self.outstanding is None:
                term.position = advance.next_offset

    def _alone(self) -> list[Place]:
        assert self.outstanding is not None
        wanted = records_of(self.outstanding.batch)
        return wanted if len(wanted) == 1 else []

    def _failed(self, error: Exception) -> None:
        if self.outstanding is None:
            return
        batch = self.outstanding.batch
        self._ended(self.outstanding)
        self._leave()
        self.holding = True
        self._told(self.machine.failed(batch, error, self.now))

    def _still_ours(self, batch: Batch, *, every: bool = False) -> list[Place]:
        wanted = [(run.partition, o) for run in batch.runs for o in run.offsets] if every else records_of(batch)
        ours = {place for place, term in self.in_flight.items() if self.terms.get(place) is term}
        return [one for one in wanted if one[0] in ours]

    def _told(self, told: list[Decision], assigned: Iterable[TopicPartition] = ()) -> None:
        self.decisions += told
        for decision in told:
            self.must(5, not self.stopped, f"after Stop: {decision}")
            match decision:
                case Write():
                    self._check_write(decision)
                case DeadLetters():
                    self._check_dead_letters(decision)
                case Commit():
                    self._check_commit(decision)
                case Pause(partitions):
                    self._check_flow("pause", partitions, assigned)
                case Resume(partitions):
                    self._check_flow("resume", partitions, assigned)
                case Stop():
                    self.stopped = True
                    self.must(5, told == [decision], f"beside Stop: {told}")
        for place in assigned:  # the caller begins to read them, unless it is told not to
            paused = any(isinstance(one, Pause) and place in one.partitions for one in told)
            self.must(6, paused == self.paused or self.stopped, f"reads {place}, while the others are paused")
            self.terms[place].flowing = not paused
        self._check_state()

    def _begin(self, decision: Write | DeadLetters) -> None:
        places = {run.partition for run in decision.batch.runs}
        self.must(ONE_AT_A_TIME, self.outstanding is None, f"{decision} while {self.outstanding}")
        gone = [place for place in places if place not in self.terms or self.terms[place].leaving]
        self.must(8, not gone, f"begins with what is gone or leaving ({gone}): {decision}")
        self.outstanding = decision
        self.holding = False
        self.in_flight = {place: self.terms[place] for place in places if place in self.terms}

    def _check_write(self, write: Write) -> None:
        self._begin(write)
        wanted, moved = records_of(write.batch), {advance.partition for advance in write.advances}
        self.must(1, write.batch.excluded <= self.dead, f"leaves out what is no dead letter: {write}")
        self.must(1, moved == set(self.in_flight), f"moves other partitions than it writes: {write}")
        for place, offset in wanted:
            term = self.in_flight.get(place)
            if term is None:
                continue
            self.must(2, offset not in term.resolved, f"{place}-{offset} is resolved already")
            self.must(2, (place, offset) in self.held, f"{place}-{offset} is not held")
        for advance in write.advances:
            term = self.in_flight.get(advance.partition)
            if term is None:
                continue
            expected, reached = advance.expected, advance.next_offset
            self.must(2, expected == term.position, f"expects {expected}, wrote {term.position}")
            self.must(2, reached >= (expected or 0), f"goes back: {advance}")
            here = {offset for run in write.batch.runs if run.partition == advance.partition for offset in run.offsets}
            self._check_covered(term, reached, here, f"{advance}")
            self.must(9, reached == max(here) + 1, f"moves past what it read: {advance} of {here}")

    def _check_covered(self, term: Term, reached: int, more: set[int], text: str) -> None:
        open_ones = [offset for offset in term.offered if offset < reached and offset not in term.resolved | more]
        self.must(1, not open_ones, f"{text} passes over {open_ones}")

    def _check_dead_letters(self, letters: DeadLetters) -> None:
        self._begin(letters)
        wanted = records_of(letters.batch)
        self.must(3, bool(letters.rejections), "asks for no dead letters")
        for one in letters.rejections:
            place = (one.partition, one.offset)
            self.must(3, place in self.blamed, f"{place} was never blamed")
            self.must(4, place in wanted, f"{place} is not of the batch")

    def _check_commit(self, commit: Commit) -> None:
        for place, reached in commit.positions:
            term = self.terms.get(place)
            self.must(8, term is not None, f"commits {place}, which is gone")
            if term is None:
                continue
            self._check_covered(term, reached, set(), f"{commit}")
            self.must(2, reached >= term.committed, f"goes back from {term.committed}: {commit}")
            last = max(term.resolved, default=-1)
            self.must(9, reached == last + 1, f"commits {reached}, resolved to {last}")
            term.committed = reached

    def _check_flow(
        self, way: Literal["pause", "resume"], partitions: Iterable[TopicPartition], assigned: Iterable[TopicPartition]
    ) -> None:
        for place in partitions:
            term = self.terms.get(place)
            self.must(8, term is not None, f"{way}s {place}, which is not ours")
            if term is not None:
                again = term.flowing == (way == "resume") and place not in set(assigned)
                self.must(6, not again, f"{way}s {place} twice")
                term.flowing = way == "resume"
        only_new = self.paused and way == "pause" and set(partitions) <= set(assigned)
        self.paused = way == "pause"
        held, flow = self._held_bytes(), self.policies.flow
        right = held >= flow.high_bytes if way == "pause" else held <= flow.low_bytes
        self.must(6, right or only_new, f"{way}s with {held} bytes held")

    def _held_bytes(self) -> int:
        return sum(len(value_at(offset)) + RECORD_OVERHEAD for _, offset in self.held)

    def _check_state(self) -> None:
        machine, policy = self.machine, self.policies
        if self.stopped:
            self.must(5, machine.stopped is not None and machine.wake_at is None, "stopped, it goes on")
            return
        counted = machine.held_bytes == self._held_bytes()
        self.must(6, counted, f"counts {machine.held_bytes} bytes, holds {self._held_bytes()}")
        self.must(8, machine.owned == set(self.terms), f"owns {machine.owned}")
        if self.outstanding is None and self.held:
            wake = machine.wake_at
            self.must(7, wake is not None, "holds records, and will never wake")
            if wake is not None:
                oldest = min(self.held.values())
                latest = self.now + policy.retry.cap_s if self.holding else oldest + policy.batch.max_age_s
                self.must(7, wake <= latest, f"wakes at {wake}, not {latest}")
