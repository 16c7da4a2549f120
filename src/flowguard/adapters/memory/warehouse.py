"""The hub of the memory sink: tables and positions, behind one lock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from threading import RLock

from flowguard.adapters.memory.ranges import GrowingRanges
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.catalog import EventType
from flowguard.domain.columns import METADATA, Column, Kind, columns_of
from flowguard.domain.errors import RowFault
from flowguard.domain.ingestion import TopicPartition
from flowguard.domain.rows import Merged, Row, Rows

_AT = {column.name: index for index, column in enumerate(METADATA)}
INGESTION_ID = itemgetter(_AT["ingestion_id"])
SERVICE = itemgetter(_AT["producer_service"])
EVENT_ID = itemgetter(_AT["event_id"])

_LARGEST_INT = 2**63 - 1


@dataclass(slots=True)
class Account:
    """What became of the offsets of one partition and incarnation, in one table."""

    landed: GrowingRanges = field(default_factory=GrowingRanges)
    duplicates: GrowingRanges = field(default_factory=GrowingRanges)
    filtered: GrowingRanges = field(default_factory=GrowingRanges)


class Table:
    """The rows of one event type, in the order of landing. Not thread-safe by itself."""

    def __init__(self, event_type: EventType) -> None:
        self.columns: tuple[Column, ...] = (*METADATA, *columns_of(event_type.model))
        self.rows: list[Row] = []
        self._integers = tuple(
            index for index, column in enumerate(self.columns) if column.kind is Kind.INTEGER and index >= len(METADATA)
        )
        self._ids: set[str] = set()
        self._events: dict[str, set[str]] = defaultdict(set)  # event ids of each producer service
        self._accounts: dict[tuple[TopicPartition, int], Account] = {}

    def account(self, partition: TopicPartition, incarnation: int) -> Account:
        return self._accounts.setdefault((partition, incarnation), Account())

    def refusals(self, rows: Rows) -> list[RowFault]:
        """The rows that no sink can hold: its integers have 64 bits."""
        return [
            RowFault(rows.partition, offset, f"{self.columns[index].name}: {row[index]} does not fit 64 bits")
            for index in self._integers
            for offset, row in zip(rows.offsets, rows.values, strict=True)
            if row[index] is not None and not -_LARGEST_INT - 1 <= row[index] <= _LARGEST_INT
        ]

    def merge(self, rows: Rows) -> Merged:
        """Take the rows in that are not there yet. All that is new goes in as one, without a step a row."""
        values = rows.values
        account = self.account(rows.partition, rows.incarnation)
        ids = set(map(INGESTION_ID, values))
        events = {service: set(some) for service, some in _events_of(values).items()}
        if (
            len(ids) == sum(map(len, events.values())) == len(values)  # none twice among themselves
            and ids.isdisjoint(self._ids)
            and all(some.isdisjoint(self._events[service]) for service, some in events.items())
        ):
            self._ids |= ids
            for service, some in events.items():
                self._events[service] |= some
            self.rows += values
            account.landed.add(rows.offsets)
            return Merged(len(values), 0)
        return self._merge_one_by_one(rows, account)

    def _merge_one_by_one(self, rows: Rows, account: Account) -> Merged:
        landed: list[int] = []
        skipped: list[int] = []
        for offset, row in zip(rows.offsets, rows.values, strict=True):
            ingestion_id, event_id, known = INGESTION_ID(row), EVENT_ID(row), self._events[SERVICE(row)]
            if ingestion_id in self._ids or event_id in known:
                skipped.append(offset)
                continue
            self._ids.add(ingestion_id)
            known.add(event_id)
            self.rows.append(row)
            landed.append(offset)
        account.landed.add(landed)
        # A row that is read again is no duplicate event: its own position is where it came from.
        account.duplicates.extend(OffsetRanges.of(skipped) - account.landed.frozen())
        return Merged(len(landed), len(skipped))


def _events_of(values: Sequence[Row]) -> dict[str, list[str]]:
    """Event ids by producer service. Most batches are of one service, and need no step a row."""
    services, event_ids = list(map(SERVICE, values)), list(map(EVENT_ID, values))
    if services and services.count(services[0]) == len(services):
        return {services[0]: event_ids}
    found: dict[str, list[str]] = defaultdict(list)
    for service, event_id in zip(services, event_ids, strict=True):
        found[service].append(event_id)
    return found


@dataclass(slots=True)
class Stored:
    """A partition as the sink knows it."""

    topic_id: str
    epoch: int = 0
    owner: str = ""
    next_offset: int | None = None


class MemoryWarehouse:
    """Tables and positions in memory. Hold `lock` to look or touch."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.positions: dict[tuple[TopicPartition, int], Stored] = {}
        """By partition and incarnation."""
        self._tables: dict[str, Table] = {}
        self._topic_ids: dict[str, list[str]] = {}

    def incarnation(self, topic: str, topic_id: str) -> int:
        """1 for the first making of the topic that was seen here, 2 for the next, ..."""
        seen = self._topic_ids.setdefault(topic, [])
        if topic_id not in seen:
            seen.append(topic_id)
        return seen.index(topic_id) + 1

    def table(self, event_type: EventType) -> Table:
        """The table of the event type, made at the first call."""
        found = self._tables.get(event_type.name)
        if found is None:
            found = self._tables[event_type.name] = Table(event_type)
        return found
