"""What the ingestor asks its caller to do. Imperative; carried out in the order given."""

from __future__ import annotations

from dataclasses import dataclass

from flowguard.domain.batching import Batch
from flowguard.domain.dead_letters import Rejection
from flowguard.domain.ingestion import Position, TopicPartition


@dataclass(frozen=True, slots=True)
class Advance:
    """Move a partition's position in the sink, in the transaction of the rows, by compare-and-set.

    `expected` is where this writer left it (None: the sink had none); `next_offset` is never below it.
    """

    partition: TopicPartition
    expected: int | None
    next_offset: int


@dataclass(frozen=True, slots=True)
class Write:
    """Write the batch less its excluded records, wholly or not at all, and move the positions with it.

    Answer with `written`, `rejected` or `failed`. At most one Write or DeadLetters is under way at any time.
    """

    batch: Batch
    advances: tuple[Advance, ...]


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Make these durable in the dead-letter queue; answer with `dead_lettered` or `failed`. Idempotent by position."""

    batch: Batch
    rejections: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """Tell the log that everything below these positions is resolved. A hint for lag and restarts: it may fail."""

    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop reading these partitions: enough bytes are held."""

    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Resume:
    """Read these partitions again."""

    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the line: nothing more is read, written, dead-lettered or committed. A person has to look at `reason`."""

    reason: str


Decision = Write | DeadLetters | Commit | Pause | Resume | Stop
