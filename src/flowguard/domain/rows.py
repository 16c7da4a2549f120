"""What a sink is given and what it answers: decoded rows, the positions that move with them, and the counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowguard.domain.catalog import EventType
from flowguard.domain.ingestion import Claim, TopicPartition
from flowguard.domain.telemetry import SchemaHappening

Row = tuple[Any, ...]
"""Values in the order of `columns.METADATA`, then of `columns.columns_of(model)`."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one event type from one partition, in log order. `offsets[i]` is where `values[i]` stood in the log.

    A row's ingestion id is of that same place, unless the record was relayed: then it is the first one's.
    """

    event_type: EventType
    partition: TopicPartition
    incarnation: int
    offsets: list[int]
    values: list[Row]


@dataclass(frozen=True, slots=True)
class Filtered:
    """Offsets that the event type's own rule, or its schema contract, filtered out.

    The sink remembers them, so that the audit can tell.
    """

    event_type: EventType
    partition: TopicPartition
    incarnation: int
    offsets: list[int]


@dataclass(frozen=True, slots=True)
class Move:
    """The compare-and-set of one partition's position, in the transaction of the rows."""

    claim: Claim
    expected: int | None
    next_offset: int


@dataclass(frozen=True, slots=True)
class SinkBatch:
    """All that one transaction holds. Several `Rows` may be of one event type. No `moves` in a replay."""

    rows: tuple[Rows, ...]
    moves: tuple[Move, ...]
    filtered: tuple[Filtered, ...] = ()

    def __len__(self) -> int:
        return sum(len(rows.values) for rows in self.rows)


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of the rows of one event type."""

    inserted: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What one write did, by name of the event type. `told` is what schema contracts did meanwhile."""

    merged: Mapping[str, Merged] = field(default_factory=dict)
    told: tuple[SchemaHappening, ...] = ()
