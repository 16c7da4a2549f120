"""Records that were taken from the client, and wait to be handed out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable

from flowguard.domain.batching import cut
from flowguard.domain.ingestion import RecordRun, TopicPartition


class Shelf:
    """Runs of each partition, in order. The partition that was served goes to the end of the line."""

    def __init__(self) -> None:
        self._runs: dict[TopicPartition, deque[RecordRun]] = {}

    def put(self, runs: Iterable[RecordRun]) -> None:
        for run in runs:
            self._runs.setdefault(run.partition, deque()).append(run)

    def holds(self, wanted: Callable[[TopicPartition], bool]) -> bool:
        """There is something of a partition that is wanted."""
        return any(map(wanted, self._runs))

    def take(self, budget: int, wanted: Callable[[TopicPartition], bool]) -> list[RecordRun]:
        """Runs of the wanted partitions, of at most `budget` bytes (RecordRun.size_bytes), or one record."""
        taken: list[RecordRun] = []
        for place in list(filter(wanted, self._runs)):
            runs = self._runs[place]
            before = len(taken)
            while runs and budget > 0:
                first, rest = cut(runs.popleft(), budget, least=0 if taken else 1)
                if rest is not None:
                    runs.appendleft(rest)
                if first is None:
                    break
                taken.append(first)
                budget -= first.size_bytes
            if len(taken) > before:
                del self._runs[place]
                if runs:
                    self._runs[place] = runs
        return taken

    def drop(self, places: Container[TopicPartition]) -> None:
        self._runs = {place: runs for place, runs in self._runs.items() if place not in places}
