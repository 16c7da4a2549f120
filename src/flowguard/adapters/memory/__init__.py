"""Everything in this process's memory: for tests, simulation, benchmarks and library users. Gone when it ends.

The hubs `MemoryLog`, `MemoryWarehouse` and `MemoryOrders` are the storage, and outlive the adapters that are made on
them: a restart is a new adapter on the same hub.
"""

from flowguard.adapters.memory.dead_letters import MemoryDeadLetterQueue
from flowguard.adapters.memory.event_log import MemoryEventLog
from flowguard.adapters.memory.ledger import MemoryLedger
from flowguard.adapters.memory.log import MemoryLog
from flowguard.adapters.memory.orders import MemoryOrderRepository, MemoryOrders, MemoryOutbox
from flowguard.adapters.memory.publisher import MemoryEventPublisher
from flowguard.adapters.memory.sink import MemoryEventSink
from flowguard.adapters.memory.source import MemoryEventSource
from flowguard.adapters.memory.warehouse import MemoryWarehouse

__all__ = [
    "MemoryDeadLetterQueue",
    "MemoryEventLog",
    "MemoryEventPublisher",
    "MemoryEventSink",
    "MemoryEventSource",
    "MemoryLedger",
    "MemoryLog",
    "MemoryOrderRepository",
    "MemoryOrders",
    "MemoryOutbox",
    "MemoryWarehouse",
]
