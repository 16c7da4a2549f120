"""Hubs in memory, for the contract suites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flowguard.adapters.memory import (
    MemoryDeadLetterQueue,
    MemoryEventLog,
    MemoryEventPublisher,
    MemoryEventSink,
    MemoryEventSource,
    MemoryLedger,
    MemoryLog,
    MemoryOrderRepository,
    MemoryOrders,
    MemoryOutbox,
    MemoryWarehouse,
)
from flowguard.domain.ingestion import TopicPartition
from flowguard.ports.source import EventSource


@dataclass
class MemorySinkStorage:
    warehouse: MemoryWarehouse = field(default_factory=MemoryWarehouse)

    def sink(self) -> MemoryEventSink:
        return MemoryEventSink(self.warehouse)

    def ledger(self) -> MemoryLedger:
        return MemoryLedger(self.warehouse)


@dataclass
class MemoryDeadLetterStorage:
    queue: MemoryDeadLetterQueue = field(default_factory=MemoryDeadLetterQueue)

    def dead_letters(self) -> MemoryDeadLetterQueue:
        return self.queue


@dataclass
class MemoryOrderStorage:
    hub: MemoryOrders = field(default_factory=MemoryOrders)

    def orders(self, keep_keys_s: float = 86_400.0) -> MemoryOrderRepository:
        return MemoryOrderRepository(self.hub, keep_keys_s=keep_keys_s)

    def outbox(self) -> MemoryOutbox:
        return MemoryOutbox(self.hub)


@dataclass
class MemoryLogStorage:
    log: MemoryLog = field(default_factory=MemoryLog)

    def publisher(self) -> MemoryEventPublisher:
        return MemoryEventPublisher(self.log)

    def source(
        self, topics: Sequence[str], group: str = "flowguard", fetch_bytes: int = 1_000_000
    ) -> MemoryEventSource:
        return MemoryEventSource(self.log, group, topics, fetch_bytes=fetch_bytes)

    def event_log(self) -> MemoryEventLog:
        return MemoryEventLog(self.log)

    def delete_topic(self, topic: str) -> None:
        self.log.delete_topic(topic)

    def skip_offsets(self, partition: TopicPartition, number: int) -> None:
        self.log.skip_offsets(partition.topic, partition.partition, number)

    def truncate(self, partition: TopicPartition, before_offset: int) -> None:
        self.log.truncate(partition, before_offset)

    def expire(self, source: EventSource) -> None:
        assert isinstance(source, MemoryEventSource)
        source.expire()
