"""EventPublisher: the gateway's way into the log."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from flowguard.domain.ingestion import Headers


class NewRecord(NamedTuple):
    """A record on its way into the log. Equal keys go to the same partition, in order; None: any partition."""

    key: bytes | None
    value: bytes
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where the log put the records: `places[i]` is (partition, offset) of `records[i]`.

    `topic_id` names this making of the topic; it changes when the topic is deleted and made again.
    """

    topic_id: str
    places: Sequence[tuple[int, int]]


class EventPublisher(Protocol):
    """Appends records to topics, durably. Async: it serves the gateway. One instance serves many concurrent calls."""

    @abstractmethod
    async def publish(self, topic: str, records: Sequence[NewRecord]) -> Receipt:
        """Append the records, all or none, in their order within a partition.

        Returns only when they would survive a kill -9 and a power cut. Many calls may share one flush to disk.

        Raises BackpressureError (nothing was kept: the log or the queue is full), UnknownOutcomeError (they may be
        in the log), TransientError (the log cannot be reached, nothing was kept), ConfigurationError (the topic does
        not exist).
        """

    @abstractmethod
    async def check(self) -> None:
        """Raise TransientError or ConfigurationError, with how to mend it, if a publish would fail now."""

    @abstractmethod
    async def close(self) -> None:
        """Flush what is under way and let go of everything. Idempotent; publish raises TransientError afterwards."""
