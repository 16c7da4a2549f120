"""Makes the adapters of memory://. The hubs are the storage itself: one of each in a container."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flowguard.settings import Settings

if TYPE_CHECKING:
    from flowguard.adapters.memory import MemoryDeadLetterQueue, MemoryLog, MemoryOrders, MemoryWarehouse
    from flowguard.ports.event_log import EventLog
    from flowguard.ports.ledger import Ledger
    from flowguard.ports.orders import OrderRepository
    from flowguard.ports.outbox import Outbox
    from flowguard.ports.publisher import EventPublisher
    from flowguard.ports.sink import EventSink
    from flowguard.ports.source import EventSource


def log(settings: Settings) -> MemoryLog:
    from flowguard.adapters.memory import MemoryLog

    return MemoryLog(max_bytes=settings.log_max_bytes)


def warehouse() -> MemoryWarehouse:
    from flowguard.adapters.memory import MemoryWarehouse

    return MemoryWarehouse()


def dead_letters() -> MemoryDeadLetterQueue:
    from flowguard.adapters.memory import MemoryDeadLetterQueue

    return MemoryDeadLetterQueue()


def publisher(log: MemoryLog) -> EventPublisher:
    from flowguard.adapters.memory import MemoryEventPublisher

    return MemoryEventPublisher(log)


def event_log(log: MemoryLog, settings: Settings) -> EventLog:
    from flowguard.adapters.memory import MemoryEventLog

    return MemoryEventLog(log, read_bytes=settings.fetch_bytes)


def source(log: MemoryLog, settings: Settings, topics: Mapping[str, int]) -> EventSource:
    from flowguard.adapters.memory import MemoryEventSource

    return MemoryEventSource(log, settings.group, topics, fetch_bytes=settings.fetch_bytes)


def sink(warehouse: MemoryWarehouse) -> EventSink:
    from flowguard.adapters.memory import MemoryEventSink

    return MemoryEventSink(warehouse)


def ledger(warehouse: MemoryWarehouse) -> Ledger:
    from flowguard.adapters.memory import MemoryLedger

    return MemoryLedger(warehouse)


def orders() -> MemoryOrders:
    from flowguard.adapters.memory import MemoryOrders

    return MemoryOrders()


def order_repository(storage: MemoryOrders, settings: Settings) -> OrderRepository:
    from flowguard.adapters.memory import MemoryOrderRepository

    return MemoryOrderRepository(storage, keep_keys_s=settings.idempotency_keep_s)


def outbox(storage: MemoryOrders) -> Outbox:
    from flowguard.adapters.memory import MemoryOutbox

    return MemoryOutbox(storage)
