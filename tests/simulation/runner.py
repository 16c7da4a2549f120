"""Runs seeds, one after the other or in several processes, and counts."""

from __future__ import annotations

import gc
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.simulation.errors import Violation
from tests.simulation.plan import FAULTS, make_plan
from tests.simulation.world import Parts, World

_CHUNK = 25


@dataclass(slots=True)
class Outcome:
    """One seed. `broken`: the rule that was broken, and how; None where none was."""

    seed: int
    broken: str | None
    digest: str
    fired: Counter[str]
    unfired: Counter[str]
    records: int
    settled_after: float
    trace: list[tuple[object, ...]]


@dataclass(slots=True)
class Totals:
    """Many seeds."""

    seeds: int = 0
    records: int = 0
    slowest_settling: float = 0.0
    fired: Counter[str] = field(default_factory=Counter)
    unfired: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.records += outcome.records
        self.slowest_settling = max(self.slowest_settling, outcome.settled_after)
        self.fired.update(outcome.fired)
        self.unfired.update(outcome.unfired)
        if outcome.broken is not None:
            self.broken[outcome.seed] = outcome.broken

    def merge(self, other: Totals) -> None:
        self.seeds += other.seeds
        self.records += other.records
        self.slowest_settling = max(self.slowest_settling, other.slowest_settling)
        self.fired.update(other.fired)
        self.unfired.update(other.unfired)
        self.broken.update(other.broken)


REAL = Parts()


def run_seed(seed: int, parts: Parts = REAL, only: tuple[str, ...] = FAULTS) -> Outcome:
    """Simulate one world. Deterministic: the same seed gives the same trace."""
    world = World(make_plan(seed, only=only), parts)
    broken = None
    try:
        world.run()
    except Violation as violation:
        broken = str(violation)
        if violation.__cause__ is not None:
            broken += "".join(traceback.format_exception(violation.__cause__))
    kept = sum(map(len, world.oracle.records.values()))
    faults = world.faults
    return Outcome(
        seed, broken, world.digest(), faults.fired, faults.unfired, kept, world.settled_after, world.trace
    )  # fmt: skip


def run_range(bounds: tuple[int, int]) -> Totals:
    """Seeds from the first bound to below the second."""
    totals = Totals()
    for seed in range(*bounds):
        totals.add(run_seed(seed))
    return totals


def run_seeds(start: int, seeds: int, jobs: int) -> Iterator[Totals]:
    """The totals so far, again and again, until all seeds were run."""
    chunks = [(first, min(first + _CHUNK, start + seeds)) for first in range(start, start + seeds, _CHUNK)]
    totals = Totals()
    if jobs == 1:
        for chunk in chunks:
            totals.merge(run_range(chunk))
            yield totals
        return
    with get_context("spawn").Pool(jobs, initializer=gc.freeze) as pool:
        for some in pool.imap_unordered(run_range, chunks):
            totals.merge(some)
            yield totals
