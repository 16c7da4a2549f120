"""What the memory sink can tell of what landed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar

from flowguard.adapters.memory.warehouse import EVENT_ID, INGESTION_ID, SERVICE, MemoryWarehouse, Table
from flowguard.domain.catalog import EventType
from flowguard.domain.columns import METADATA
from flowguard.domain.errors import ConfigurationError
from flowguard.domain.ingestion import TopicPartition
from flowguard.domain.rows import Row
from flowguard.ports.ledger import LandedOffsets, Ledger, SinkPosition, TableSummary

_T = TypeVar("_T")
_REQUIRED = tuple(index for index, column in enumerate(METADATA) if column.required)


class MemoryLedger(Ledger):
    """Reads a MemoryWarehouse."""

    def __init__(self, warehouse: MemoryWarehouse) -> None:
        self._warehouse = warehouse

    def positions(self) -> Sequence[SinkPosition]:
        with self._warehouse.lock:
            return [
                SinkPosition(place, one.topic_id, incarnation, one.next_offset, one.epoch, one.owner)
                for (place, incarnation), one in sorted(self._warehouse.positions.items(), key=lambda item: item[0])
            ]

    def summary(self, event_type: EventType) -> TableSummary:
        with self._warehouse.lock:
            rows = self._warehouse.table(event_type).rows
            return TableSummary(len(rows), sum(map(_is_complete, rows)))

    def offsets(self, event_type: EventType, partition: TopicPartition, incarnation: int) -> LandedOffsets:
        with self._warehouse.lock:
            account = self._warehouse.table(event_type).account(partition, incarnation)
            return LandedOffsets(account.landed.frozen(), account.duplicates.frozen(), account.filtered.frozen())

    def doubled(self, event_type: EventType, limit: int = 100) -> Sequence[str]:
        with self._warehouse.lock:
            rows = self._warehouse.table(event_type).rows
            twice = [*_twice(map(INGESTION_ID, rows)), *_twice(f"{SERVICE(row)}/{EVENT_ID(row)}" for row in rows)]
            return twice[:limit]

    def recent(
        self, event_type: EventType, limit: int, where: Mapping[str, str] | None = None
    ) -> Sequence[Mapping[str, object]]:
        with self._warehouse.lock:
            table = self._warehouse.table(event_type)
            wanted = _condition(table, event_type, where or {})
            names = [column.name for column in table.columns]
            newest = filter(wanted, reversed(table.rows))
            return [dict(zip(names, row, strict=True)) for row in islice(newest, limit)]


def _is_complete(row: Row) -> bool:
    return all(row[index] is not None for index in _REQUIRED)


def _twice(values: Iterable[_T]) -> list[_T]:
    return [value for value, times in Counter(values).items() if times > 1]


def _condition(table: Table, event_type: EventType, where: Mapping[str, str]) -> Callable[[Row], bool]:
    at = {column.name: index for index, column in enumerate(table.columns)}
    unknown = sorted(where.keys() - at.keys())
    if unknown:
        raise ConfigurationError(
            f"{event_type.name} has no column {', '.join(unknown)}; its columns are {', '.join(at)}"
        )
    wanted = [(at[name], text) for name, text in where.items()]
    return lambda row: all(_as_text(row[index]) == text for index, text in wanted)


def _as_text(value: object) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
        case _:
            return str(value)
