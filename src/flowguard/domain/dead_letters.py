"""Dead letters: what could not land, why, and when so many of them mean that something else is broken."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from flowguard.domain.ingestion import Headers, IngestionId, TopicPartition


class Reason(StrEnum):
    """Why a record is a dead letter. The value is what users filter by."""

    MALFORMED = "malformed"
    """The record's value is no CloudEvent in JSON."""
    UNKNOWN_EVENT_TYPE = "unknown_event_type"
    """Its event type is not the one of its topic in the catalog."""
    UNKNOWN_SCHEMA_VERSION = "unknown_schema_version"
    """The catalog has neither this version nor an upcaster from it: most often a producer that was deployed first."""
    UPCAST_FAILED = "upcast_failed"
    """An upcaster of the catalog raised."""
    INVALID = "invalid"
    """The event does not fit its model."""
    REJECTED_BY_SINK = "rejected_by_sink"
    """The sink refused the row for good."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that can never land, found before the batch was written."""

    partition: TopicPartition
    offset: int
    reason: Reason
    error: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected record with its original bytes. `timestamp_ms` is the log's, milliseconds since 1970 UTC."""

    ingestion_id: IngestionId
    reason: Reason
    error: str
    key: bytes | None
    value: bytes
    headers: Headers
    timestamp_ms: int
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterPolicy:
    """Beyond these bounds the line stops, rather than draining a topic into the dead-letter queue.

    One bad deployment makes every record unreadable; that is to be mended, not to be filed. The line stops when more
    than `max_consecutive` records in a row are rejected, or more than `max_ratio` of the last `window` (judged once
    that many were seen). 0 switches a bound off.
    """

    max_consecutive: int = 1_000
    max_ratio: float = 0.5
    window: int = 2_000

    def __post_init__(self) -> None:
        if self.max_consecutive < 0 or not 0 <= self.max_ratio <= 1 or self.window < 1:
            raise ValueError("DeadLetterPolicy needs max_consecutive >= 0, 0 <= max_ratio <= 1 and window >= 1")


class StormGauge:
    """Counts landed and rejected records against a DeadLetterPolicy. Pure state; fed in log order.

    `verdict` says why the line has to stop, once that is so; it stays said.
    """

    def __init__(self, policy: DeadLetterPolicy) -> None:
        self._policy = policy
        self._consecutive = 0
        self._runs: deque[tuple[bool, int]] = deque()  # (rejected?, how many), newest last
        self._seen = 0
        self._rejected = 0
        self.verdict: str | None = None

    def landed(self, count: int) -> None:
        if count:
            self._consecutive = 0
            self._push(count, rejected=False)

    def rejected(self, count: int) -> None:
        if count:
            self._consecutive += count
            self._push(count, rejected=True)
            self.verdict = self.verdict or self._judge()

    def _judge(self) -> str | None:
        policy = self._policy
        if 0 < policy.max_consecutive < self._consecutive:
            return f"{self._consecutive} records in a row were rejected (allowed: {policy.max_consecutive})"
        if policy.max_ratio and self._seen >= policy.window and self._rejected > policy.max_ratio * self._seen:
            return f"{self._rejected} of the last {self._seen} records were rejected (allowed: {policy.max_ratio:.0%})"
        return None

    def _push(self, count: int, *, rejected: bool) -> None:
        self._runs.append((rejected, count))
        self._seen += count
        self._rejected += count * rejected
        while (excess := self._seen - self._policy.window) > 0:
            was_rejected, oldest = self._runs.popleft()
            gone = min(oldest, excess)
            if gone < oldest:
                self._runs.appendleft((was_rejected, oldest - gone))
            self._seen -= gone
            self._rejected -= gone * was_rejected
