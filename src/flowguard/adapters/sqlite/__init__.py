"""The embedded log, warehouse and dead-letter table, each in a SQLite file: durable, with nothing to install."""

from flowguard.adapters.sqlite.database import path_of
from flowguard.adapters.sqlite.dead_letters import SqliteDeadLetterQueue
from flowguard.adapters.sqlite.event_log import SqliteEventLog
from flowguard.adapters.sqlite.ledger import SqliteLedger
from flowguard.adapters.sqlite.migrations import Part, migrate
from flowguard.adapters.sqlite.publisher import SqliteEventPublisher
from flowguard.adapters.sqlite.sink import SqliteEventSink
from flowguard.adapters.sqlite.source import SqliteEventSource
from flowguard.domain.migrations import Migration

__all__ = [
    "Migration",
    "Part",
    "SqliteDeadLetterQueue",
    "SqliteEventLog",
    "SqliteEventPublisher",
    "SqliteEventSink",
    "SqliteEventSource",
    "SqliteLedger",
    "migrate",
    "path_of",
]
