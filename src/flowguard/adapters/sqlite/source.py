"""Reading the embedded log as the one member of a consumer group."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time_ns

from flowguard.adapters.sqlite.database import BUSY_TIMEOUT_S, Database, Value
from flowguard.adapters.sqlite.reader import NO_LIMIT, read, within
from flowguard.adapters.sqlite.wakeup import bell_of
from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.domain.ingestion import Assignment, Position, RecordRun, TopicPartition
from flowguard.ports.source import EventSource, RebalanceListener

_LOOK_S = 0.015
"""How often the file is looked at for what other processes appended."""

_PARTITIONS = (
    "SELECT t.name, p.partition, t.id, t.topic_id, p.earliest, p.next_offset, coalesce(o.next_offset, 0)"
    " FROM fg_topics t JOIN fg_partitions p ON p.topic = t.id LEFT JOIN fg_group_offsets o"
    " ON o.topic = p.topic AND o.partition = p.partition AND o.group_name = ?"
    " WHERE t.name IN ({}) ORDER BY t.id, p.partition"
)


@dataclass(slots=True)
class _Partition:
    """A partition that is ours. `stood` is where reading goes on, None until something says where."""

    topic_row: int
    topic_id: str
    earliest: int
    end: int
    committed: int  # 0 where the group has committed nothing: reading starts at the earliest that is kept
    stood: int | None = None
    resumed: bool = False
    rest: RecordRun | None = None  # decoded already, from `stood` on


class SqliteEventSource(EventSource):
    """The one live member of a group of the log in one file: a newer one takes over, and this one is told so.

    One poll returns at most `fetch_bytes`, or one record. A topic that does not exist yet is read once it does.
    """

    def __init__(
        self,
        path: Path,
        group: str,
        topics: Iterable[str],
        *,
        fetch_bytes: int = 4 * 1024 * 1024,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self._database = Database(path, busy_timeout_s=busy_timeout_s, flushed=False)
        self._group = group
        self._topics = tuple(topics)
        self._fetch_bytes = fetch_bytes
        self._bell = bell_of(path)
        self._generation = 0
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._seen: tuple[sqlite3.Connection, int] | None = None  # the file as it was when last looked at
        self._superseded = ""
        self._closed = False

    def poll(self, timeout_s: float, listener: RebalanceListener) -> Sequence[RecordRun]:
        if self._closed:
            raise TransientError("this source is closed: make another one")
        deadline = monotonic() + timeout_s
        while True:
            heard = self._bell.rings
            told = self._look(listener)
            told = self._skip_gaps(listener) or told
            runs = self._fetch()
            left = deadline - monotonic()
            if runs or told or left <= 0:
                return runs
            self._bell.wait(heard, min(left, _LOOK_S))

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        for place in partitions:
            if state := self._partitions.get(place):
                state.resumed = False

    def resume(self, starts: Mapping[TopicPartition, int | None]) -> None:
        for place, start in starts.items():
            state = self._partitions.get(place)
            if state is None:
                continue
            if start is not None and start != state.stood:
                state.stood, state.rest = start, None
            elif state.stood is None:
                state.stood = state.committed or state.earliest
            state.resumed = True

    def commit(self, positions: Iterable[Position]) -> None:
        values: list[Value] = []
        for place, next_offset in positions:
            if state := self._partitions.get(place):
                values += (state.topic_row, place.partition, next_offset)
                state.committed = next_offset
        if not values:
            return
        rows = ", ".join(["(?, ?, ?)"] * (len(values) // 3))
        # A topic made again meanwhile has another row id, and a newer member another generation: nothing is stored.
        self._database.execute_alone(
            "INSERT INTO fg_group_offsets SELECT ?, column1, column2, column3"
            f" FROM (VALUES {rows}) WHERE column1 IN (SELECT id FROM fg_topics)"
            " AND (SELECT generation FROM fg_groups WHERE name = ?) = ?"
            " ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
            (self._group, *values, self._group, self._generation),
        )

    def close(self) -> None:
        self._closed = True
        self._partitions.clear()
        self._database.close()

    def _look(self, listener: RebalanceListener) -> bool:
        """Learn what changed in the file, and tell the listener; False where there was nothing to tell."""
        if self._superseded:
            raise ConfigurationError(self._superseded)
        if self._generation == 0:
            self._join()
        with self._database.use() as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            if self._seen == (connection, version):
                return False
            generation, member = connection.execute(
                "SELECT generation, member FROM fg_groups WHERE name = ?", (self._group,)
            ).fetchone() or (0, "")
            found = {
                TopicPartition(name, partition): _Partition(*state)
                for name, partition, *state in connection.execute(
                    _PARTITIONS.format(", ".join("?" * len(self._topics))), (self._group, *self._topics)
                ).fetchall()
            }
        if generation != self._generation:
            return self._give_up(member, listener)
        told = self._settle(found, listener)
        self._seen = (connection, version)
        return told

    def _join(self) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO fg_groups VALUES (?, 1, ?, ?) ON CONFLICT DO UPDATE SET"
                " generation = generation + 1, member = excluded.member, joined_ms = excluded.joined_ms",
                (self._group, f"process {os.getpid()} on {socket.gethostname()}", time_ns() // 1_000_000),
            )
            (generation,) = connection.execute(
                "SELECT generation FROM fg_groups WHERE name = ?", (self._group,)
            ).fetchone()
        self._generation = generation
        self._bell.ring()  # whoever was the member until now may learn it at once

    def _give_up(self, member: str, listener: RebalanceListener) -> bool:
        """Somebody else is the member now, or nobody: then the next look joins again."""
        if member:
            self._superseded = (
                f"another consumer of group {self._group} took over ({member}): the embedded log has one consumer a"
                " group; stop one of them, or give it a group of its own (FLOWGUARD_GROUP)"
            )
        lost = tuple(self._partitions)
        self._partitions.clear()
        self._generation = 0
        if lost:
            listener.on_lost(lost)
        if member:
            raise ConfigurationError(self._superseded)
        return bool(lost)

    def _settle(self, found: dict[TopicPartition, _Partition], listener: RebalanceListener) -> bool:
        """Have the partitions that were found; tell of those that went, and of those that are new."""
        mine = self._partitions
        lost = [p for p, was in mine.items() if p not in found or found[p].topic_row != was.topic_row]
        new = [place for place in found if place not in mine or place in lost]
        if new:
            self._subscribe([(found[place].topic_row, place.partition) for place in new])
        for place in lost:
            del mine[place]
        for place, now in found.items():
            if place in new:
                mine[place] = now
            else:
                mine[place].earliest, mine[place].end = now.earliest, now.end
        if lost:
            listener.on_lost(lost)
        if new:
            listener.on_assigned([Assignment(place, found[place].topic_id) for place in new])
        return bool(lost or new)

    def _subscribe(self, places: list[tuple[int, int]]) -> None:
        """Have retention spare what this group has not committed yet."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO fg_group_offsets VALUES (?, ?, ?, NULL) ON CONFLICT DO NOTHING",
                [(self._group, *place) for place in places],
            )

    def _skip_gaps(self, listener: RebalanceListener) -> bool:
        """Go on at the earliest where reading stands below it, and say so; False where it does not."""
        gaps = [
            (place, state, state.stood)
            for place, state in self._partitions.items()
            if state.resumed and state.rest is None and state.stood is not None and state.stood < state.earliest
        ]
        for place, state, stood in gaps:
            state.stood = state.earliest
            listener.on_gap(place, stood, state.earliest - 1)
        return bool(gaps)

    def _fetch(self) -> list[RecordRun]:
        """Records of the resumed partitions, within the budget; the one that was read goes to the end of the line."""
        runs: list[RecordRun] = []
        budget = self._fetch_bytes
        for place, state in list(self._partitions.items()):
            if not state.resumed or state.stood is None or (state.rest is None and state.stood >= state.end):
                continue
            if runs and budget <= 0:
                break
            got = self._read(place, state, budget, may_be_none=bool(runs))
            budget -= sum(run.size_bytes for run in got)
            runs += got
            self._partitions[place] = self._partitions.pop(place)
        return runs

    def _read(self, place: TopicPartition, state: _Partition, budget: int, *, may_be_none: bool) -> list[RecordRun]:
        if state.rest is not None:
            got, rest = within([state.rest], budget)
        else:
            with self._database.use() as connection:
                got, rest = read(connection, state.topic_row, place, state.stood or 0, NO_LIMIT, budget)
        if may_be_none and sum(run.size_bytes for run in got) > budget:
            state.rest = got[0] if rest is None else None  # the one record that did not fit is for the next poll
            return []
        state.rest = rest
        state.stood = rest.first_offset if rest is not None else got[-1].next_offset if got else state.end
        return got
