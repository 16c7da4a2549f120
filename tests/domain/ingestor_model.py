"""An independent model of what the ingestor may ask for.

What it may not do is noted as (number of the invariant in the design, what it did).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from flowguard.domain.batching import Batch, BatchPolicy, FlowPolicy
from flowguard.domain.dead_letters import DeadLetterPolicy, Reason, Rejection
from flowguard.domain.decisions import Commit, DeadLetters, Decision, Pause, Resume, Stop, Write
from flowguard.domain.errors import (
    ConfigurationError,
    FencedError,
    PermanentError,
    RetryPolicy,
    RowFault,
    TransientError,
    UnknownOutcomeError,
)
from flowguard.domain.ingestion import RECORD_OVERHEAD, RecordRun, TopicPartition
from flowguard.domain.ingestor import Ingestor

PLACES = tuple(TopicPartition("raw.clicks.v1", number) for number in range(3))
ONE_AT_A_TIME = 0
"""Noted beside the nine: at most one Write or DeadLetters is with the caller."""

Place = tuple[TopicPartition, int]


@dataclass(frozen=True)
class Policies:
    batch: BatchPolicy = BatchPolicy(max_records=4, max_bytes=900, max_age_s=0.5)
    retry: RetryPolicy = RetryPolicy(initial_s=0.1, cap_s=1.0)
    dead_letters: DeadLetterPolicy = DeadLetterPolicy(max_consecutive=0, max_ratio=0)
    flow: FlowPolicy = FlowPolicy(high_bytes=1_500, low_bytes=600)
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

    def breach(self, invariant: int, *, unless: bool, text: str) -> None:
        if not unless:
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
            self.breach(5, unless=not self.stopped, text=f"after Stop: {decision}")
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
                    self.breach(5, unless=told == [decision], text=f"beside Stop: {told}")
        if not self.paused:
            for place in assigned:
                self.terms[place].flowing = True
        self._check_state()

    def _begin(self, decision: Write | DeadLetters) -> None:
        places = {run.partition for run in decision.batch.runs}
        self.breach(ONE_AT_A_TIME, unless=self.outstanding is None, text=f"{decision} while {self.outstanding}")
        gone = [place for place in places if place not in self.terms or self.terms[place].leaving]
        self.breach(8, unless=not gone, text=f"begins with what is gone or leaving ({gone}): {decision}")
        self.outstanding = decision
        self.holding = False
        self.in_flight = {place: self.terms[place] for place in places if place in self.terms}

    def _check_write(self, write: Write) -> None:
        self._begin(write)
        wanted, moved = records_of(write.batch), {advance.partition for advance in write.advances}
        self.breach(1, unless=write.batch.excluded <= self.dead, text=f"leaves out what is no dead letter: {write}")
        self.breach(1, unless=moved == set(self.in_flight), text=f"moves other partitions than it writes: {write}")
        for place, offset in wanted:
            term = self.in_flight.get(place)
            if term is None:
                continue
            self.breach(2, unless=offset not in term.resolved, text=f"{place}-{offset} is resolved already")
            self.breach(2, unless=(place, offset) in self.held, text=f"{place}-{offset} is not held")
        for advance in write.advances:
            term = self.in_flight.get(advance.partition)
            if term is None:
                continue
            expected, reached = advance.expected, advance.next_offset
            self.breach(2, unless=expected == term.position, text=f"expects {expected}, wrote {term.position}")
            self.breach(2, unless=reached >= (expected or 0), text=f"goes back: {advance}")
            here = {offset for run in write.batch.runs if run.partition == advance.partition for offset in run.offsets}
            self._check_covered(term, reached, here, f"{advance}")
            self.breach(9, unless=reached == max(here) + 1, text=f"moves past what it read: {advance} of {here}")

    def _check_covered(self, term: Term, reached: int, more: set[int], text: str) -> None:
        open_ones = [offset for offset in term.offered if offset < reached and offset not in term.resolved | more]
        self.breach(1, unless=not open_ones, text=f"{text} passes over {open_ones}")

    def _check_dead_letters(self, letters: DeadLetters) -> None:
        self._begin(letters)
        wanted = records_of(letters.batch)
        self.breach(3, unless=bool(letters.rejections), text="asks for no dead letters")
        for one in letters.rejections:
            place = (one.partition, one.offset)
            self.breach(3, unless=place in self.blamed, text=f"{place} was never blamed")
            self.breach(4, unless=place in wanted, text=f"{place} is not of the batch")

    def _check_commit(self, commit: Commit) -> None:
        for place, reached in commit.positions:
            term = self.terms.get(place)
            self.breach(8, unless=term is not None, text=f"commits {place}, which is gone")
            if term is None:
                continue
            self._check_covered(term, reached, set(), f"{commit}")
            self.breach(2, unless=reached >= term.committed, text=f"goes back from {term.committed}: {commit}")
            last = max(term.resolved, default=-1)
            self.breach(9, unless=reached == last + 1, text=f"commits {reached}, resolved to {last}")
            term.committed = reached

    def _check_flow(
        self, way: Literal["pause", "resume"], partitions: Iterable[TopicPartition], assigned: Iterable[TopicPartition]
    ) -> None:
        for place in partitions:
            term = self.terms.get(place)
            self.breach(8, unless=term is not None, text=f"{way}s {place}, which is not ours")
            if term is not None:
                again = term.flowing == (way == "resume") and place not in set(assigned)
                self.breach(6, unless=not again, text=f"{way}s {place} twice")
                term.flowing = way == "resume"
        only_new = self.paused and way == "pause" and set(partitions) <= set(assigned)
        self.paused = way == "pause"
        held, flow = self._held_bytes(), self.policies.flow
        right = held >= flow.high_bytes if way == "pause" else held <= flow.low_bytes
        self.breach(6, unless=right or only_new, text=f"{way}s with {held} bytes held")

    def _held_bytes(self) -> int:
        return sum(len(value_at(offset)) + RECORD_OVERHEAD for _, offset in self.held)

    def _check_state(self) -> None:
        machine, policy = self.machine, self.policies
        if self.stopped:
            self.breach(5, unless=machine.stopped is not None and machine.wake_at is None, text="stopped, it goes on")
            return
        counted = machine.held_bytes == self._held_bytes()
        self.breach(6, unless=counted, text=f"counts {machine.held_bytes} bytes, holds {self._held_bytes()}")
        self.breach(8, unless=machine.owned == set(self.terms), text=f"owns {machine.owned}")
        if self.outstanding is None and self.held:
            wake = machine.wake_at
            self.breach(7, unless=wake is not None, text="holds records, and will never wake")
            if not self.holding and wake is not None:
                latest = min(self.held.values()) + policy.batch.max_age_s
                self.breach(7, unless=wake <= latest, text=f"wakes at {wake}, not {latest}")
