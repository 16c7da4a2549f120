"""EventLog: the log as an administrator and an auditor see it, outside any consumer group."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flowguard.domain.audit import OffsetRanges
from flowguard.domain.ingestion import RecordRun, TopicPartition


@dataclass(frozen=True, slots=True)
class PartitionSpan:
    """One partition: offsets in [earliest, next_offset) can be read. `committed`: the group's next offset, if any."""

    partition: TopicPartition
    earliest: int
    next_offset: int
    committed: int | None


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic as it is now. `topic_id` changes when it is deleted and made again."""

    topic: str
    topic_id: str
    spans: tuple[PartitionSpan, ...]


class EventLog(Protocol):
    """Describes, creates and reads topics. Sync. One instance may be used from one thread at a time."""

    @abstractmethod
    def ensure(self, topics: Mapping[str, int]) -> Sequence[str]:
        """Create the topics (name to partition count) that do not exist; returns their names.

        An existing topic keeps its partitions. Raises TransientError, ConfigurationError.
        """

    @abstractmethod
    def describe(self, topic: str, group: str) -> TopicDescription | None:
        """The topic and the group's committed offsets, or None where there is no such topic. Raises TransientError."""

    @abstractmethod
    def read(self, partition: TopicPartition, first: int, last: int) -> Sequence[RecordRun]:
        """Records at offsets from `first` to `last` (inclusive), a bounded number of them, from the lowest on.

        Empty where there are none (left). To go on, read from past the last offset returned. Raises TransientError.
        """

    @abstractmethod
    def logged(self, partition: TopicPartition) -> OffsetRanges:
        """Offsets that hold a record, or held one before retention removed it. Raises TransientError."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything. Idempotent."""
