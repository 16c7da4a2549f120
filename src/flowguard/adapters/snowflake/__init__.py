"""Snowflake: bronze tables, positions and dead letters, by its own connector."""

from flowguard.adapters.snowflake.backfill import SnowflakeBackfill
from flowguard.adapters.snowflake.dead_letters import SnowflakeDeadLetterQueue
from flowguard.adapters.snowflake.ledger import SnowflakeLedger
from flowguard.adapters.snowflake.migrations import Part, migrate
from flowguard.adapters.snowflake.sink import SnowflakeEventSink
from flowguard.adapters.snowflake.url import url_of

__all__ = [
    "Part",
    "SnowflakeBackfill",
    "SnowflakeDeadLetterQueue",
    "SnowflakeEventSink",
    "SnowflakeLedger",
    "migrate",
    "url_of",
]
