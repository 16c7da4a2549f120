"""Appending to the embedded log: many requests, one transaction, one flush to disk."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from time import time_ns

from flowguard.adapters.sqlite.database import Database, Value
from flowguard.adapters.sqlite.log_format import encode, pieces
from flowguard.adapters.sqlite.retention import make_room
from flowguard.domain.errors import ConfigurationError, FlowGuardError
from flowguard.domain.partitioning import partition_of
from flowguard.ports.publisher import NewRecord, Receipt

_ROWS_A_STATEMENT = 1_000


@dataclass(slots=True)
class _Topic:
    """A topic as it was when last looked at. `ends` are the next offsets of its partitions."""

    id: int
    topic_id: str
    ends: list[int]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one transaction appends, and what each request is told when that is done."""

    rows: list[tuple[Value, ...]]
    outcomes: list[Receipt | FlowGuardError]
    size: int
    """Bytes of the bodies."""


class LogAppender:
    """Appends groups of requests. Used by one thread.

    It remembers where partitions end, and appends there in a single statement; the tables refuse it when another
    process was faster. Then it looks again, this time under the lock.
    """

    def __init__(self, database: Database, max_bytes: int) -> None:
        self._database = database
        self._max_bytes = max_bytes
        self._topics: dict[str, _Topic] = {}
        self._kept_bytes = 0
        self._turn = 0

    def append(self, requests: Sequence[tuple[str, Sequence[NewRecord]]]) -> list[Receipt | FlowGuardError]:
        """One receipt or error for each request (topic, records). What it raises holds for all of them."""
        try:
            if all(topic in self._topics for topic, _ in requests):
                plan = self._plan(requests)
                fits = self._kept_bytes + plan.size <= self._max_bytes and len(plan.rows) <= _ROWS_A_STATEMENT
                if fits and (not plan.rows or self._database.execute_alone(*_insert(plan.rows))):
                    self._kept_bytes += plan.size
                    return plan.outcomes
            return self._append_under_lock(requests)
        except BaseException:
            self._topics.clear()  # it may tell of offsets that never came to be
            raise

    def check(self) -> None:
        """Raise what an append would raise now."""
        with self._database.transaction() as connection:
            self._look(connection)
            make_room(connection, self._kept_bytes, 1, self._max_bytes)

    def _append_under_lock(self, requests: Sequence[tuple[str, Sequence[NewRecord]]]) -> list[Receipt | FlowGuardError]:
        with self._database.transaction() as connection:
            self._look(connection)
            plan = self._plan(requests)
            freed = make_room(connection, self._kept_bytes, plan.size, self._max_bytes)
            for start in range(0, len(plan.rows), _ROWS_A_STATEMENT):
                connection.execute(*_insert(plan.rows[start : start + _ROWS_A_STATEMENT]))
        self._kept_bytes += plan.size - freed
        return plan.outcomes

    def _look(self, connection: sqlite3.Connection) -> None:
        """Learn the topics, where their partitions end, and how much is kept."""
        self._topics = {}
        self._kept_bytes = 0
        for name, row_id, topic_id, end, kept in connection.execute(
            "SELECT t.name, t.id, t.topic_id, p.next_offset, p.bytes FROM fg_topics t JOIN fg_partitions p"
            " ON p.topic = t.id ORDER BY t.id, p.partition"
        ).fetchall():
            self._topics.setdefault(name, _Topic(row_id, topic_id, [])).ends.append(end)
            self._kept_bytes += kept

    def _plan(self, requests: Sequence[tuple[str, Sequence[NewRecord]]]) -> _Plan:
        """Give every record its place, and encode what goes to one partition together. Moves the known ends."""
        now_ms = time_ns() // 1_000_000
        outcomes: list[Receipt | FlowGuardError] = []
        together: dict[tuple[str, int], list[NewRecord]] = defaultdict(list)
        for name, records in requests:
            topic = self._topics.get(name)
            if topic is None:
                outcomes.append(ConfigurationError(f"the log has no topic {name}: run `flowguard migrate`"))
                continue
            outcomes.append(Receipt(topic.topic_id, self._place(name, topic, records, together)))
        rows: list[tuple[Value, ...]] = []
        size = 0
        for (name, partition), records in together.items():
            topic = self._topics[name]
            for piece in pieces(records):
                base = topic.ends[partition]
                end = topic.ends[partition] = base + len(piece)
                body = encode(piece)
                size += len(body)
                rows.append((topic.id, partition, base, end - 1, now_ms, len(body), body))
        return _Plan(rows, outcomes, size)

    def _place(
        self,
        name: str,
        topic: _Topic,
        records: Sequence[NewRecord],
        together: dict[tuple[str, int], list[NewRecord]],
    ) -> list[tuple[int, int]]:
        count = len(topic.ends)
        self._turn += 1
        turn = self._turn % count  # where the records of this request go that have no key
        if count == 1:
            waiting = together[name, 0]
            first = topic.ends[0] + len(waiting)
            waiting += records
            return list(zip(repeat(0), range(first, first + len(records)), strict=False))
        places = []
        lists = [together[name, partition] for partition in range(count)]
        for record in records:
            key = record[0]
            partition = turn if key is None else partition_of(key, count)
            waiting = lists[partition]
            places.append((partition, topic.ends[partition] + len(waiting)))
            waiting.append(record)
        return places


@lru_cache(maxsize=64)
def _insert_sql(rows: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * rows)
    return (
        f"INSERT INTO fg_batches (topic, partition, base_offset, last_offset, appended_ms, bytes, body) VALUES {values}"
    )


def _insert(rows: Sequence[tuple[Value, ...]]) -> tuple[str, list[Value]]:
    return _insert_sql(len(rows)), [value for row in rows for value in row]
