"""A schema of the test's own, for the contract suites. `close` lets go of every adapter that was made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any, TypedDict

from flowguard.adapters.snowflake import Part, SnowflakeDeadLetterQueue, SnowflakeEventSink, SnowflakeLedger, migrate
from flowguard.adapters.snowflake.database import Database
from flowguard.adapters.snowflake.dead_letters import letters_table
from flowguard.adapters.snowflake.tables import table_of
from flowguard.domain.catalog import EventType, SchemaContract
from tests.builders import CATALOG


class Times(TypedDict):
    timeout_s: float
    query_timeout_s: float


class SnowflakeStorage:
    """Tables for `CATALOG`, empty at first: a SinkStorage and a DeadLetterStorage."""

    def __init__(
        self, url: str, *, timeout_s: float = 10.0, query_timeout_s: float = 30.0, migrated: bool = True
    ) -> None:
        self.url = url
        self._times: Times = {"timeout_s": timeout_s, "query_timeout_s": query_timeout_s}
        self._closers: list[Callable[[], None]] = []
        if migrated and not migrate(url, [*Part], CATALOG, **self._times):
            self.execute(
                *(f"DELETE FROM {name}" for one in CATALOG for name in (table_of(one).name, letters_table(one))),
                *(f"DELETE FROM {name}" for name in ("FG_INCARNATIONS", "FG_ABSORBED")),
                "DELETE FROM FG_POSITIONS WHERE TOPIC <> ''",
            )

    def close(self) -> None:
        for close in self._closers:
            close()

    def sink(self) -> SnowflakeEventSink:
        return self.sink_with(SchemaContract.EVOLVE, CATALOG)

    def sink_with(self, contract: SchemaContract, event_types: Iterable[EventType] = ()) -> SnowflakeEventSink:
        sink = SnowflakeEventSink(self.url, event_types, schema_contract=contract, **self._times)
        self._closers.append(sink.close)
        return sink

    def migrate(self, event_type: EventType) -> None:
        migrate(self.url, [Part.WAREHOUSE], [event_type], **self._times)

    def drop_column(self, table: str, column: str) -> None:
        self.execute(f'ALTER TABLE "{table.upper()}" DROP COLUMN "{column.upper()}"')

    def ledger(self) -> SnowflakeLedger:
        ledger = SnowflakeLedger(self.url, **self._times)
        self._closers.append(ledger.close)
        return ledger

    def dead_letters(self) -> SnowflakeDeadLetterQueue:
        queue = SnowflakeDeadLetterQueue(self.url, CATALOG, **self._times)
        self._closers.append(queue.close)
        return queue

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """What befalls a schema, done behind the backs of its adapters; what the last statement found."""
        found: list[tuple[Any, ...]] = []
        with closing(Database(self.url, **self._times)) as database, database.transaction() as session:
            for statement in statements:
                found = session.rows(statement)
        return found
