"""PostgreSQL as the warehouse, the dead-letter queue, and the home of orders and their outbox."""

from flowguard.adapters.postgres.backfill import PostgresBackfill
from flowguard.adapters.postgres.database import named, url_of
from flowguard.adapters.postgres.dead_letters import PostgresDeadLetterQueue
from flowguard.adapters.postgres.ledger import PostgresLedger
from flowguard.adapters.postgres.migrations import Part, migrate
from flowguard.adapters.postgres.orders import PostgresOrderRepository
from flowguard.adapters.postgres.outbox import PostgresOutbox
from flowguard.adapters.postgres.sink import PostgresEventSink
from flowguard.domain.migrations import Migration

__all__ = [
    "Migration",
    "Part",
    "PostgresBackfill",
    "PostgresDeadLetterQueue",
    "PostgresEventSink",
    "PostgresLedger",
    "PostgresOrderRepository",
    "PostgresOutbox",
    "migrate",
    "named",
    "url_of",
]
