"""The embedded log as an administrator and an auditor see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import time_ns
from uuid import uuid4

from flowguard.adapters.sqlite.database import BUSY_TIMEOUT_S, Database
from flowguard.adapters.sqlite.migrations import Part, migrate
from flowguard.adapters.sqlite.reader import read
from flowguard.adapters.sqlite.wakeup import bell_of
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.errors import ConfigurationError
from flowguard.domain.ingestion import RecordRun, TopicPartition
from flowguard.ports.event_log import EventLog, PartitionSpan, TopicDescription

_READ_BYTES = 4 * 1024 * 1024


class SqliteEventLog(EventLog):
    """The log in one file; `ensure` makes the file too."""

    def __init__(self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._database = Database(path, busy_timeout_s=busy_timeout_s)
        self._busy_timeout_s = busy_timeout_s
        self._bell = bell_of(path)

    def ensure(self, topics: Mapping[str, int]) -> Sequence[str]:
        if wrong := sorted(name for name, count in topics.items() if count < 1):
            raise ConfigurationError(f"topic {', '.join(wrong)} needs at least 1 partition")
        migrate(self._database.path, [Part.LOG], busy_timeout_s=self._busy_timeout_s)
        made = []
        with self._database.transaction() as connection:
            known = {name for (name,) in connection.execute("SELECT name FROM fg_topics").fetchall()}
            for name, count in topics.items():
                if name in known:
                    continue
                row = connection.execute(
                    "INSERT INTO fg_topics (name, topic_id, partitions, created_ms) VALUES (?, ?, ?, ?)",
                    (name, uuid4().hex, count, time_ns() // 1_000_000),
                ).lastrowid
                connection.executemany(
                    "INSERT INTO fg_partitions (topic, partition) VALUES (?, ?)",
                    [(row, partition) for partition in range(count)],
                )
                made.append(name)
        self._bell.ring()
        return made

    def describe(self, topic: str, group: str) -> TopicDescription | None:
        with self._database.use() as connection:
            rows = connection.execute(
                "SELECT t.topic_id, p.partition, p.earliest, p.next_offset, o.next_offset FROM fg_topics t"
                " JOIN fg_partitions p ON p.topic = t.id LEFT JOIN fg_group_offsets o"
                " ON o.topic = p.topic AND o.partition = p.partition AND o.group_name = ?"
                " WHERE t.name = ? ORDER BY p.partition",
                (group, topic),
            ).fetchall()
        if not rows:
            return None
        spans = tuple(
            PartitionSpan(TopicPartition(topic, partition), earliest, end, committed)
            for _, partition, earliest, end, committed in rows
        )
        return TopicDescription(topic, rows[0][0], spans)

    def read(self, partition: TopicPartition, first: int, last: int) -> Sequence[RecordRun]:
        with self._database.snapshot() as connection:
            found = connection.execute(
                "SELECT t.id, p.earliest FROM fg_topics t JOIN fg_partitions p ON p.topic = t.id"
                " WHERE t.name = ? AND p.partition = ?",
                partition,
            ).fetchone()
            if found is None:
                return ()
            topic_row, earliest = found
            return read(connection, topic_row, partition, max(first, earliest), last, _READ_BYTES)[0]

    def logged(self, partition: TopicPartition) -> OffsetRanges:
        # The tables let no offset be left out, and retention takes from the front only: so it is all of them.
        with self._database.use() as connection:
            found = connection.execute(
                "SELECT p.next_offset FROM fg_topics t JOIN fg_partitions p ON p.topic = t.id"
                " WHERE t.name = ? AND p.partition = ?",
                partition,
            ).fetchone()
        return OffsetRanges([(0, found[0] - 1)] if found and found[0] else ())

    def delete_topic(self, topic: str) -> bool:
        """Remove the topic with its records and its groups' offsets; False where there is none. Raises TransientError.

        Consumers lose its partitions. Made again, it has another topic id, and counts its offsets from 0 once more.
        """
        with self._database.transaction() as connection:
            found = connection.execute("SELECT id FROM fg_topics WHERE name = ?", (topic,)).fetchone()
            if found is None:
                return False
            for table, column in (
                ("fg_batches", "topic"),
                ("fg_partitions", "topic"),
                ("fg_group_offsets", "topic"),
                ("fg_topics", "id"),
            ):
                connection.execute(f"DELETE FROM {table} WHERE {column} = ?", found)
        self._bell.ring()
        return True

    def close(self) -> None:
        self._database.close()
