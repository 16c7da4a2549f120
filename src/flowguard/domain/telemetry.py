"""What happened, as typed values in the past tense. A Telemetry adapter turns them into log lines and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from flowguard.domain.dead_letters import Reason
from flowguard.domain.ingestion import Position, TopicPartition


@dataclass(frozen=True, slots=True)
class RowsMerged:
    """The sink took rows of one event type: `Merged 5 clicks (skipped 0 duplicates)`."""

    stream: str
    inserted: int
    duplicates: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RecordsDeadLettered:
    """Records of one event type are durable in the dead-letter queue."""

    stream: str
    reason: Reason
    count: int
    example: str
    """The first of them: where it stood and what was wrong."""


@dataclass(frozen=True, slots=True)
class RecordsFiltered:
    """Records of one event type were filtered by its own rule."""

    stream: str
    count: int


@dataclass(frozen=True, slots=True)
class ColumnsAdded:
    """The table of one event type lacked columns that its model has, and got them (schema contract `evolve`)."""

    stream: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ValuesDiscarded:
    """So many rows landed without their values of columns that the table lacks (schema contract `discard_value`)."""

    stream: str
    columns: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class RowsDiscarded:
    """So many rows did not land because the table lacks columns of theirs (schema contract `discard_row`)."""

    stream: str
    columns: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """Something failed and will be tried again.

    `what` is write, dead letters, claim, commit, read, publish, or outbox (taking from it, or moving it to the log).
    """

    what: str
    error: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """What failed before works again."""

    what: str
    attempts: int


@dataclass(frozen=True, slots=True)
class PartitionsAssigned:
    """The consumer owns these partitions and starts at these offsets (None: the log's own choice)."""

    starts: tuple[tuple[TopicPartition, int | None], ...]


@dataclass(frozen=True, slots=True)
class OffsetsGone:
    """The log does not keep offsets `first` to `last` (inclusive) any more, and they were not read: they are lost."""

    partition: TopicPartition
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class HistoryGone:
    """The sink has nothing of this partition yet, and the log keeps nothing below `earliest` any more."""

    partition: TopicPartition
    earliest: int


@dataclass(frozen=True, slots=True)
class PartitionsGone:
    """These partitions went away. `how` is revoked, lost or fenced."""

    partitions: tuple[TopicPartition, ...]
    how: str


@dataclass(frozen=True, slots=True)
class PositionsCommitted:
    """The log knows that everything below these offsets is resolved."""

    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class FlowChanged:
    """Reading was paused or resumed because of the bytes held."""

    paused: bool
    held_bytes: int


@dataclass(frozen=True, slots=True)
class LineStopped:
    """The consumer, or the relay of an outbox, stopped, and a person has to look at the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class EventsPublished:
    """The gateway answered a request for one event type."""

    stream: str
    accepted: int
    duplicate: int
    rejected: int
    seconds: float


@dataclass(frozen=True, slots=True)
class OrderPlaced:
    """An order was placed, or its first answer was given once more (`repeated`)."""

    repeated: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class MessagesRelayed:
    """The log took messages of an outbox, all for one topic."""

    topic: str
    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class OutboxLeadChanged:
    """Of the relays of an outbox, this one moves its messages from now on, or stands by while another one does."""

    leads: bool


SchemaHappening = ColumnsAdded | ValuesDiscarded | RowsDiscarded
"""What a schema contract did."""


Happening = (
    RowsMerged
    | RecordsDeadLettered
    | RecordsFiltered
    | ColumnsAdded
    | ValuesDiscarded
    | RowsDiscarded
    | AttemptFailed
    | Recovered
    | PartitionsAssigned
    | OffsetsGone
    | HistoryGone
    | PartitionsGone
    | PositionsCommitted
    | FlowChanged
    | LineStopped
    | EventsPublished
    | OrderPlaced
    | MessagesRelayed
    | OutboxLeadChanged
)
