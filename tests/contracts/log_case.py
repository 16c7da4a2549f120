"""What the contracts of a log's adapters share: a storage, a way to publish, and members that poll."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import monotonic
from typing import ClassVar

import pytest

from flowguard.domain.ingestion import Assignment, RecordRun, TopicPartition
from flowguard.ports.event_log import EventLog
from flowguard.ports.publisher import NewRecord, Receipt
from flowguard.ports.source import EventSource, RebalanceListener
from tests.contracts.storage import LogStorage

TOPIC = "raw.things.v1"
GROUP = "flowguard"
P0, P1, P2 = (TopicPartition(TOPIC, number) for number in range(3))


class LogCase:
    """`patience_s`: what is to come must have come by then. `quiet_s`: what has not come by then does not come."""

    patience_s: ClassVar[float] = 10.0
    quiet_s: ClassVar[float] = 0.05

    @pytest.fixture
    def storage(self) -> LogStorage:
        raise NotImplementedError("the subclass makes a fresh storage")

    @pytest.fixture
    def log(self, storage: LogStorage) -> Iterator[EventLog]:
        log = storage.event_log()
        yield log
        log.close()

    def until(self, condition: Callable[[], bool], *members: Member) -> None:
        """Let the members poll in turn until it is so."""
        deadline = monotonic() + self.patience_s
        while not condition():
            assert monotonic() < deadline, [member.told for member in members]
            for member in members:
                member.poll(0.01)

    def stays_quiet(self, *members: Member) -> None:
        """Nothing is read, by any of them."""
        for member in members:
            assert list(member.poll(self.quiet_s)) == []
            assert list(member.poll(self.quiet_s)) == []


class Member(RebalanceListener):
    """A source that is polled, and what it was told. It resumes what it is given, where `start` is set or None."""

    def __init__(self, source: EventSource, *, resumes: bool = True) -> None:
        self.source = source
        self.owned: dict[TopicPartition, str] = {}
        self.told: list[tuple[str, tuple[TopicPartition, ...]]] = []
        self.runs: list[RecordRun] = []
        self.gaps: list[tuple[TopicPartition, int, int]] = []
        self.when_revoked: Callable[[Sequence[TopicPartition]], None] = lambda partitions: None
        self._resumes = resumes
        self._fresh: list[TopicPartition] = []

    def poll(self, timeout_s: float) -> Sequence[RecordRun]:
        runs = self.source.poll(timeout_s, self)
        for run in runs:
            assert run.partition in self.owned, f"{run.partition} was read, but is not ours: {self.told}"
        self.runs += runs
        if self._resumes and self._fresh:
            self.source.resume(dict.fromkeys(self._fresh))
            self._fresh = []
        return runs

    def on_assigned(self, assignments: Sequence[Assignment]) -> None:
        self.told.append(("assigned", tuple(one.partition for one in assignments)))
        for partition, topic_id in assignments:
            assert partition not in self.owned, f"{partition} was assigned twice"
            self.owned[partition] = topic_id
            self._fresh.append(partition)

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self.when_revoked(partitions)
        self._gone("revoked", partitions)

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        self._gone("lost", partitions)

    def on_gap(self, partition: TopicPartition, first: int, last: int) -> None:
        assert partition in self.owned, f"a gap in {partition}, which is not ours"
        self.gaps.append((partition, first, last))

    def _gone(self, how: str, partitions: Sequence[TopicPartition]) -> None:
        self.told.append((how, tuple(partitions)))
        for partition in partitions:
            assert partition in self.owned, f"{partition} is {how}, but was not ours"
            del self.owned[partition]
            if partition in self._fresh:
                self._fresh.remove(partition)

    def times(self, how: str, partition: TopicPartition) -> int:
        return sum(partition in partitions for told, partitions in self.told if told == how)

    def values(self, partition: TopicPartition | None = None) -> list[bytes]:
        """What was read, in the order of reading."""
        return [value for run in self._of(partition) for value in run.values]

    def offsets(self, partition: TopicPartition) -> list[int]:
        return [offset for run in self._of(partition) for offset in run.offsets]

    def _of(self, partition: TopicPartition | None) -> list[RecordRun]:
        return [run for run in self.runs if partition in {None, run.partition}]


def publish(storage: LogStorage, records: Iterable[NewRecord], topic: str = TOPIC) -> Receipt:
    """One call of a publisher of its own."""

    async def once() -> Receipt:
        publisher = storage.publisher()
        try:
            return await publisher.publish(topic, list(records))
        finally:
            await publisher.close()

    return asyncio.run(once())


def things(*names: object, key: bytes | None = b"one key") -> list[NewRecord]:
    """Records whose values are the names, all with one key: in one partition, in order."""
    return [NewRecord(key, str(name).encode()) for name in names]


def read_all(log: EventLog, partition: TopicPartition) -> list[RecordRun]:
    """Every record that the partition holds."""
    runs: list[RecordRun] = []
    first = 0
    while found := log.read(partition, first, 2**62):
        runs += found
        first = found[-1].next_offset
    return runs


def offsets_of(runs: Iterable[RecordRun]) -> list[int]:
    return [offset for run in runs for offset in run.offsets]


def values_of(runs: Iterable[RecordRun]) -> list[bytes]:
    return [value for run in runs for value in run.values]
