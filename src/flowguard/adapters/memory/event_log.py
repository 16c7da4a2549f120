"""The memory log, as administrators and auditors see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flowguard.adapters.memory.log import MemoryLog
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.ingestion import RecordRun, TopicPartition
from flowguard.ports.event_log import EventLog, PartitionSpan, TopicDescription


class MemoryEventLog(EventLog):
    """Looks at a MemoryLog. One read returns at most `read_bytes`, or one record."""

    def __init__(self, log: MemoryLog, *, read_bytes: int = 4 * 1024 * 1024) -> None:
        self._log = log
        self._read_bytes = read_bytes

    def ensure(self, topics: Mapping[str, int]) -> Sequence[str]:
        return self._log.ensure(topics)

    def describe(self, topic: str, group: str) -> TopicDescription | None:
        with self._log.changed:
            found = self._log.topics.get(topic)
            if found is None:
                return None
            spans = tuple(
                PartitionSpan(one.place, one.earliest, one.next_offset, self._log.committed(group, one.place))
                for one in found.partitions
            )
            return TopicDescription(topic, found.topic_id, spans)

    def read(self, partition: TopicPartition, first: int, last: int) -> Sequence[RecordRun]:
        with self._log.changed:
            found = self._log.partition(partition)
            return () if found is None else found.read(first, last + 1, self._read_bytes)

    def logged(self, partition: TopicPartition) -> OffsetRanges:
        with self._log.changed:
            found = self._log.partition(partition)
            return OffsetRanges() if found is None else found.held.frozen()

    def close(self) -> None:
        """Nothing is held."""
