"""Ledger: what the sink can tell of what landed, for status, audit and people."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flowguard.domain.audit import OffsetRanges
from flowguard.domain.catalog import EventType
from flowguard.domain.ingestion import TopicPartition


@dataclass(frozen=True, slots=True)
class SinkPosition:
    """A partition as the sink knows it. `topic_id` is the log's name for this incarnation of the topic."""

    partition: TopicPartition
    topic_id: str
    incarnation: int
    next_offset: int | None
    epoch: int
    owner: str


@dataclass(frozen=True, slots=True)
class LandedOffsets:
    """Source positions of one partition and incarnation: as rows, as absorbed duplicates, as filtered."""

    landed: OffsetRanges
    duplicates: OffsetRanges
    filtered: OffsetRanges


@dataclass(frozen=True, slots=True)
class TableSummary:
    """A bronze table in figures. `metadata_complete`: rows whose metadata columns are all known."""

    rows: int
    metadata_complete: int


class Ledger(Protocol):
    """Reads the sink. Sync; used from one thread at a time. Every method raises TransientError, ConfigurationError."""

    @abstractmethod
    def positions(self) -> Sequence[SinkPosition]:
        """Every partition that was ever claimed, all incarnations."""

    @abstractmethod
    def summary(self, event_type: EventType) -> TableSummary:
        """The table in figures."""

    @abstractmethod
    def offsets(self, event_type: EventType, partition: TopicPartition, incarnation: int) -> LandedOffsets:
        """What became of the offsets of this partition, as far as the sink was told of them."""

    @abstractmethod
    def doubled(self, event_type: EventType, limit: int = 100) -> Sequence[str]:
        """Ingestion ids, and `service/event id` pairs, that have more than one row. There must be none."""

    @abstractmethod
    def recent(
        self, event_type: EventType, limit: int, where: Mapping[str, str] | None = None
    ) -> Sequence[Mapping[str, object]]:
        """The rows landed last, newest first, column names in lower case. `where`: equality on columns, as text."""
