"""What can go wrong, split by what the caller should do about it, and how long to wait before trying again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from flowguard.domain.ingestion import TopicPartition


class FlowGuardError(Exception):
    """Root of every error that FlowGuard raises on purpose."""


class TransientError(FlowGuardError):
    """The other side cannot take it now: hold, back off, try again. Never a reason for a dead letter."""


class BackpressureError(TransientError):
    """A bounded queue or log is full. Nothing was kept; send it again after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnknownOutcomeError(TransientError):
    """The effect may or may not have happened (a reply was lost). Trying again must be harmless."""


class FencedError(FlowGuardError):
    """Another owner has claimed these partitions since, or the sink's position is not where it was left.

    Nothing of the batch was written. The writer must stop writing these partitions until it claims them again.
    """

    def __init__(self, partitions: Iterable[TopicPartition]) -> None:
        self.partitions = tuple(partitions)
        super().__init__("fenced from " + ", ".join(map(str, self.partitions)))


@dataclass(frozen=True, slots=True)
class RowFault:
    """One record that a sink named as the cause of a refused batch."""

    partition: TopicPartition
    offset: int
    error: str


class PermanentError(FlowGuardError):
    """The batch can never be written as it is. Nothing of it was written.

    `rows` names the records at fault where the sink knows them; empty means that the batch has to be bisected.
    """

    def __init__(self, message: str, rows: Iterable[RowFault] = ()) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


class ConfigurationError(FlowGuardError):
    """A person has to mend something (a setting, a missing table, refused credentials). The text says what."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to hold before trying again: exponential with full jitter, so that a recovering sink is not stampeded.

    Source of the formula: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015). All in seconds.
    """

    initial_s: float = 0.1
    factor: float = 2.0
    cap_s: float = 30.0

    def __post_init__(self) -> None:
        if not (0 < self.initial_s <= self.cap_s < inf and 1 <= self.factor < inf):
            raise ValueError("RetryPolicy needs 0 < initial_s <= cap_s and factor >= 1")

    def delay_s(self, attempt: int, jitter: float) -> float:
        """Seconds before try `attempt` + 1 (first failure: attempt 0); `jitter` is uniform in [0, 1]."""
        try:
            ceiling = min(self.cap_s, self.initial_s * self.factor**attempt)
        except OverflowError:  # 2.0 ** 1100, after a long outage
            ceiling = self.cap_s
        return ceiling * jitter
