"""A database of the test's own, for the contract suites. `close` lets go of every adapter that was made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg

from flowguard.adapters.postgres import (
    Part,
    PostgresDeadLetterQueue,
    PostgresEventSink,
    PostgresLedger,
    PostgresOrderRepository,
    PostgresOutbox,
    migrate,
)
from flowguard.domain.catalog import EventType, SchemaContract
from tests.builders import CATALOG


class PostgresStorage:
    """Tables for `CATALOG`, empty at first: a SinkStorage and a DeadLetterStorage."""

    def __init__(self, url: str, *, timeout_s: float = 10.0, migrated: bool = True) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self._closers: list[Callable[[], None]] = []
        if migrated and not migrate(url, [*Part], CATALOG):
            self.execute(
                """
                DO $$ BEGIN EXECUTE (
                  SELECT 'TRUNCATE ' || string_agg(format('%I', tablename), ', ') FROM pg_tables
                  WHERE schemaname = 'public' AND tablename <> 'fg_migrations'
                ); END $$
                """
            )

    def close(self) -> None:
        for close in self._closers:
            close()

    def sink(self) -> PostgresEventSink:
        sink = PostgresEventSink(self.url, CATALOG, timeout_s=self.timeout_s)
        self._closers.append(sink.close)
        return sink

    def sink_with(self, contract: SchemaContract) -> PostgresEventSink:
        sink = PostgresEventSink(self.url, (), timeout_s=self.timeout_s, schema_contract=contract)
        self._closers.append(sink.close)
        return sink

    def migrate(self, event_type: EventType) -> None:
        migrate(self.url, [Part.WAREHOUSE], [event_type])

    def drop_column(self, table: str, column: str) -> None:
        self.execute(f'ALTER TABLE "{table}" DROP COLUMN "{column}"')

    def ledger(self) -> PostgresLedger:
        ledger = PostgresLedger(self.url, timeout_s=self.timeout_s)
        self._closers.append(ledger.close)
        return ledger

    def dead_letters(self) -> PostgresDeadLetterQueue:
        queue = PostgresDeadLetterQueue(self.url, timeout_s=self.timeout_s)
        self._closers.append(queue.close)
        return queue

    def orders(self, keep_keys_s: float = 86_400.0) -> PostgresOrderRepository:
        orders = PostgresOrderRepository(self.url, keep_keys_s=keep_keys_s, timeout_s=self.timeout_s)
        self._closers.append(orders.close)
        return orders

    def outbox(self) -> PostgresOutbox:
        outbox = PostgresOutbox(self.url, timeout_s=self.timeout_s)
        self._closers.append(outbox.close)
        return outbox

    def execute(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """What befalls a database, done behind the backs of its adapters."""
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            cursor = connection.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []
