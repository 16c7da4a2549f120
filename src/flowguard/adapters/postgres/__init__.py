"""PostgreSQL as the warehouse and the dead-letter queue."""

from flowguard.adapters.postgres.backfill import PostgresBackfill
from flowguard.adapters.postgres.database import named, url_of
from flowguard.adapters.postgres.dead_letters import PostgresDeadLetterQueue
from flowguard.adapters.postgres.ledger import PostgresLedger
from flowguard.adapters.postgres.migrations import Part, migrate
from flowguard.adapters.postgres.sink import PostgresEventSink
from flowguard.domain.migrations import Migration

__all__ = [
    "Migration",
    "Part",
    "PostgresBackfill",
    "PostgresDeadLetterQueue",
    "PostgresEventSink",
    "PostgresLedger",
    "migrate",
    "named",
    "url_of",
]
