"""Batches: how large they grow, how long they wait, and how they are cut."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from sys import maxsize

from flowguard.domain.ingestion import Position, RecordRun, TopicPartition


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """A batch is written when it holds `max_records` or `max_bytes`, or when its oldest record waited `max_age_s`."""

    max_records: int = 5_000
    max_bytes: int = 8 * 1024 * 1024
    max_age_s: float = 0.25

    def __post_init__(self) -> None:
        if self.max_records < 1 or self.max_bytes < 1 or not 0 <= self.max_age_s < inf:
            raise ValueError("BatchPolicy needs max_records >= 1, max_bytes >= 1 and max_age_s >= 0")


@dataclass(frozen=True, slots=True)
class FlowPolicy:
    """Reading pauses at `high_bytes` held and resumes at `low_bytes`: the gap keeps a slow sink from flapping."""

    high_bytes: int = 16 * 1024 * 1024
    low_bytes: int = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        if not 0 <= self.low_bytes < self.high_bytes:
            raise ValueError("FlowPolicy needs 0 <= low_bytes < high_bytes")


@dataclass(frozen=True, slots=True)
class Batch:
    """Runs that are written together. `excluded` are its records that are dead letters already, by position."""

    number: int
    runs: tuple[RecordRun, ...]
    excluded: frozenset[tuple[TopicPartition, int]] = frozenset()
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_bytes", sum(run.size_bytes for run in self.runs))

    def __len__(self) -> int:
        """Records to write."""
        return sum(map(len, self.runs)) - len(self.excluded)

    @property
    def positions(self) -> tuple[Position, ...]:
        """Where each of its partitions stands once the batch is resolved."""
        ends = {run.partition: run.next_offset for run in self.runs}
        return tuple(Position(partition, offset) for partition, offset in ends.items())

    def without_partitions(self, gone: Iterable[TopicPartition]) -> Batch:
        lost = frozenset(gone)
        return Batch(
            self.number,
            tuple(run for run in self.runs if run.partition not in lost),
            frozenset(place for place in self.excluded if place[0] not in lost),
        )

    def excluding(self, places: Iterable[tuple[TopicPartition, int]]) -> Batch:
        return Batch(self.number, self.runs, self.excluded.union(places))

    def halves(self, numbers: Iterator[int]) -> tuple[Batch, Batch]:
        """Two batches, in log order, that together resolve the same offsets; each has at least one record to write.

        Raises ValueError with fewer than two records to write.
        """
        if len(self) < 2:  # noqa: PLR2004  # two halves need two records
            raise ValueError("a batch of one record cannot be cut")
        left: list[RecordRun] = []
        right: list[RecordRun] = []
        wanted = len(self) // 2
        for run in self.runs:
            skipped = {offset for partition, offset in self.excluded if partition == run.partition}
            keep = 0
            while keep < len(run) and wanted > 0:
                wanted -= run.offsets[keep] not in skipped
                keep += 1
            if keep:
                left.append(run.part(0, keep) if keep < len(run) else run)
            if keep < len(run):
                right.append(run.part(keep, len(run)) if keep else run)
        return self._cut(next(numbers), left), self._cut(next(numbers), right)

    def _cut(self, number: int, runs: list[RecordRun]) -> Batch:
        ends = {(run.partition, run.first_offset, run.next_offset) for run in runs}
        excluded = frozenset(
            (partition, offset)
            for partition, offset in self.excluded
            if any(partition == p and first <= offset < end for p, first, end in ends)
        )
        return Batch(number, tuple(runs), excluded)


def cut(
    run: RecordRun, max_bytes: int, max_records: int = maxsize, *, least: int = 0
) -> tuple[RecordRun | None, RecordRun | None]:
    """The leading records that fit, but `least` (0 or 1) at least, and the rest; None for what would be empty."""
    count = min(len(run), max_records)
    if run.size_bytes > max_bytes:  # rarely: it looks at every record
        count = min(count, bisect_right(list(accumulate(run.sizes())), max_bytes))
    count = max(count, least)
    if count == len(run):
        return run, None
    if count == 0:
        return None, run
    first = run.part(0, count)
    return first, run.part(count, len(run), run.size_bytes - first.size_bytes)
