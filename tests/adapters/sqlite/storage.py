"""Files in a folder of the test's own, for the contract suites. `close` lets go of every adapter that was made."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from flowguard.adapters.sqlite import (
    Part,
    SqliteDeadLetterQueue,
    SqliteEventLog,
    SqliteEventPublisher,
    SqliteEventSink,
    SqliteEventSource,
    SqliteLedger,
    migrate,
)
from flowguard.domain.catalog import EventType, SchemaContract
from flowguard.domain.ingestion import TopicPartition
from flowguard.ports.source import EventSource
from tests.builders import CATALOG


class _Storage:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._closers: list[Callable[[], None]] = []

    def close(self) -> None:
        for close in self._closers:
            close()


class SqliteSinkStorage(_Storage):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "warehouse.db")
        migrate(self.path, [Part.WAREHOUSE], CATALOG)

    def sink(self) -> SqliteEventSink:
        sink = SqliteEventSink(self.path, CATALOG)
        self._closers.append(sink.close)
        return sink

    def sink_with(self, contract: SchemaContract) -> SqliteEventSink:
        sink = SqliteEventSink(self.path, schema_contract=contract)
        self._closers.append(sink.close)
        return sink

    def migrate(self, event_type: EventType) -> None:
        migrate(self.path, [Part.WAREHOUSE], [event_type])

    def drop_column(self, table: str, column: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute(f'ALTER TABLE "{table}" DROP COLUMN "{column}"')

    def ledger(self) -> SqliteLedger:
        ledger = SqliteLedger(self.path)
        self._closers.append(ledger.close)
        return ledger


class SqliteDeadLetterStorage(_Storage):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "warehouse.db")
        migrate(self.path, [Part.DEAD_LETTERS])

    def dead_letters(self) -> SqliteDeadLetterQueue:
        queue = SqliteDeadLetterQueue(self.path)
        self._closers.append(queue.close)
        return queue


class SqliteLogStorage(_Storage):
    def __init__(self, folder: Path, *, max_bytes: int = 1 << 30) -> None:
        super().__init__(folder / "log.db")
        self.max_bytes = max_bytes
        migrate(self.path, [Part.LOG])

    def publisher(self) -> SqliteEventPublisher:
        publisher = SqliteEventPublisher(self.path, max_bytes=self.max_bytes)
        self._closers.append(lambda: asyncio.run(publisher.close()))
        return publisher

    def source(
        self, topics: Sequence[str], group: str = "flowguard", fetch_bytes: int = 1_000_000
    ) -> SqliteEventSource:
        source = SqliteEventSource(self.path, group, topics, fetch_bytes=fetch_bytes)
        self._closers.append(source.close)
        return source

    def event_log(self) -> SqliteEventLog:
        log = SqliteEventLog(self.path)
        self._closers.append(log.close)
        return log

    def delete_topic(self, topic: str) -> None:
        assert self.event_log().delete_topic(topic)

    def execute(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """What befalls a log, done behind the backs of its adapters."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(sql, values).fetchall()

    def skip_offsets(self, partition: TopicPartition, number: int) -> None:
        self.execute(
            "UPDATE fg_partitions SET next_offset = next_offset + ?"
            " WHERE topic = (SELECT id FROM fg_topics WHERE name = ?) AND partition = ?",
            number,
            *partition,
        )

    def truncate(self, partition: TopicPartition, before_offset: int) -> None:
        self.execute(
            "UPDATE fg_partitions SET earliest = max(earliest, ?)"
            " WHERE topic = (SELECT id FROM fg_topics WHERE name = ?) AND partition = ?",
            before_offset,
            *partition,
        )

    def expire(self, source: EventSource) -> None:
        assert isinstance(source, SqliteEventSource)
        self.execute("UPDATE fg_groups SET generation = generation + 1, member = '' WHERE name = ?", source._group)
