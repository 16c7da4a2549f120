"""DeadLetterQueue: where records rest that can never land, with their reason."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from flowguard.domain.audit import OffsetRanges
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.ingestion import IngestionId, TopicPartition


class State(StrEnum):
    """What has become of a dead letter."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A dead letter as the queue keeps it. `attempts` counts how often it was put; times are aware, UTC."""

    letter: DeadLetter
    attempts: int
    first_seen: datetime
    last_seen: datetime
    state: State


class DeadLetterQueue(Protocol):
    """Keeps dead letters durably. Sync; used from one thread at a time."""

    @abstractmethod
    def put(self, letters: Sequence[DeadLetter], now: datetime) -> None:
        """Keep these; returns when they would survive a power cut. All or none.

        Idempotent by ingestion id (topic, incarnation, partition, offset): putting one again raises its attempts and
        its last-seen time, takes over the new reason and error, and leaves its state and first-seen time as they are.
        Raises TransientError, UnknownOutcomeError (putting the same again is right), ConfigurationError.
        """

    @abstractmethod
    def page(
        self, *, topic: str | None = None, reason: Reason | None = None, state: State | None = None,
        limit: int = 100, after: IngestionId | None = None,
    ) -> Sequence[StoredDeadLetter]:  # fmt: skip
        """Up to `limit` that match, ordered by ingestion id (as a tuple, not as text), from past `after`."""

    @abstractmethod
    def mark(self, ids: Sequence[IngestionId], state: State, now: datetime) -> int:
        """Set the state of these; returns how many there were. Raises TransientError."""

    @abstractmethod
    def offsets(self, partition: TopicPartition, incarnation: int) -> OffsetRanges:
        """The offsets of this partition that have a dead letter, in any state."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything. Idempotent."""
