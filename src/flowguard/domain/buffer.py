"""Runs that were read and wait to be written, oldest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from flowguard.domain.batching import Batch, BatchPolicy, cut
from flowguard.domain.ingestion import RecordRun, TopicPartition


class Buffer:
    """A queue of runs that knows its records, its bytes, and since when its oldest run waits. Pure state."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._runs: deque[tuple[float, RecordRun]] = deque()  # (when offered, run)
        self._records = 0
        self.size_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._runs)

    def add(self, run: RecordRun, now: float) -> None:
        self._runs.append((now, run))
        self._records += len(run)
        self.size_bytes += run.size_bytes

    def drop(self, partitions: Collection[TopicPartition]) -> None:
        """Forget what waits of these partitions."""
        self._runs = deque(held for held in self._runs if held[1].partition not in partitions)
        self._records = sum(len(run) for _, run in self._runs)
        self.size_bytes = sum(run.size_bytes for _, run in self._runs)

    @property
    def due_at(self) -> float | None:
        """When its oldest run has waited for `max_age_s`. None: it is empty."""
        return self._runs[0][0] + self._policy.max_age_s if self._runs else None

    @property
    def full(self) -> bool:
        """As much as a batch takes is there."""
        return self._records >= self._policy.max_records or self.size_bytes >= self._policy.max_bytes

    def due(self, now: float) -> bool:
        """Say whether there is enough for a batch, or it has waited long enough."""
        due_at = self.due_at
        return due_at is not None and (self.full or due_at <= now)

    def compose(self, number: int) -> Batch:
        """Take the next batch out: as much as the policy lets in, and one record at least."""
        runs: list[RecordRun] = []
        records, size = self._policy.max_records, self._policy.max_bytes
        while self._runs and records > 0 and size > 0:
            offered_at, run = self._runs.popleft()
            first, rest = cut(run, size, records, least=0 if runs else 1)  # one larger than a batch goes alone
            if rest is not None:
                self._runs.appendleft((offered_at, rest))
            if first is None:
                break
            runs.append(first)
            records -= len(first)
            size -= first.size_bytes
        self._records -= sum(map(len, runs))
        self.size_bytes -= sum(run.size_bytes for run in runs)
        return Batch(number, tuple(runs))
