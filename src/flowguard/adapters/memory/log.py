"""The hub of the memory log: topics, partitions and consumer groups, behind one lock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from threading import Condition
from uuid import uuid4

from flowguard.adapters.memory.groups import Group
from flowguard.adapters.memory.partition import PartitionLog, size_of_records
from flowguard.domain.errors import BackpressureError, ConfigurationError
from flowguard.domain.ingestion import TopicPartition
from flowguard.domain.partitioning import partition_of
from flowguard.ports.publisher import NewRecord


@dataclass(slots=True)
class Topic:
    """A topic as it was made; made again, it is another one with another id."""

    topic_id: str
    partitions: tuple[PartitionLog, ...]
    turn: int = 0  # where the next record without a key goes


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


def _unique_id() -> str:
    return uuid4().hex


class MemoryLog:
    """A log in memory. Thread-safe: hold `changed` to look or touch; it is notified of whatever changes.

    Over `max_bytes`, records that every group has committed are dropped, the oldest first; where that makes no room,
    publishing is refused. `now_ms` stamps records (milliseconds since 1970); `new_id` names the makings of topics, and
    must never give the same name twice, not even in another process: sinks tell incarnations by it.
    """

    def __init__(
        self,
        *,
        max_bytes: int | None = None,
        now_ms: Callable[[], int] = _wall_clock_ms,
        new_id: Callable[[], str] = _unique_id,
    ) -> None:
        self.changed = Condition()
        self.rebalances = 0
        """Goes up whenever members, ownership or topics change: then members settle what is theirs."""
        self.appends = 0
        self.topics: dict[str, Topic] = {}
        self.size_bytes = 0
        self._groups: dict[str, Group] = {}
        self._members = count(1)
        self._max_bytes = max_bytes
        self._now_ms = now_ms
        self._new_id = new_id

    # -- topics ------------------------------------------------------------------------------------------------------

    def ensure(self, topics: Mapping[str, int]) -> list[str]:
        """Make the topics that do not exist; returns their names."""
        with self.changed:
            made = [name for name in topics if name not in self.topics]
            for name in made:
                places = (TopicPartition(name, number) for number in range(topics[name]))
                self.topics[name] = Topic(self._new_id(), tuple(map(PartitionLog, places)))
            if made:
                self.rebalanced()
            return made

    def delete_topic(self, name: str) -> None:
        """Forget the topic, its records and what groups committed of it. Raises ConfigurationError if there is none."""
        with self.changed:
            for partition in self.topic(name).partitions:
                self.size_bytes -= partition.truncate(partition.next_offset)
            del self.topics[name]
            for group in self._groups.values():
                group.forget(name)
            self.rebalanced()

    def topic(self, name: str) -> Topic:
        """Raises ConfigurationError where there is none of that name."""
        found = self.topics.get(name)
        if found is None:
            raise ConfigurationError(
                f"there is no topic {name}; topics are made by `ensure`, before anything is published"
            )
        return found

    def partition(self, place: TopicPartition) -> PartitionLog | None:
        found = self.topics.get(place.topic)
        if found is None or not 0 <= place.partition < len(found.partitions):
            return None
        return found.partitions[place.partition]

    def skip_offsets(self, topic: str, partition: int, number: int) -> None:
        """Use up offsets that hold no record, as transactions do."""
        with self.changed:
            self.topic(topic).partitions[partition].skip(number)

    def truncate(self, place: TopicPartition, before_offset: int) -> None:
        """Forget the records below the offset, as retention does."""
        with self.changed:
            partition = self.topic(place.topic).partitions[place.partition]
            self.size_bytes -= partition.truncate(before_offset)

    # -- records -----------------------------------------------------------------------------------------------------

    def append(self, topic: str, records: Sequence[NewRecord]) -> tuple[str, list[tuple[int, int]]]:
        """Keep all of the records or none; returns the topic's id and their places.

        Raises ConfigurationError (no such topic), BackpressureError (no room).
        """
        with self.changed:
            found = self.topic(topic)
            width = len(found.partitions)
            shares: dict[int, list[NewRecord]] = {}
            ends = [partition.next_offset for partition in found.partitions]
            places: list[tuple[int, int]] = []
            self.make_room(size_of_records(records))
            for record in records:
                if record.key is None:
                    number, found.turn = found.turn, (found.turn + 1) % width
                else:
                    number = partition_of(record.key, width)
                shares.setdefault(number, []).append(record)
                places.append((number, ends[number]))
                ends[number] += 1
            now_ms = self._now_ms()
            for number, share in shares.items():
                found.partitions[number].append(share, now_ms)
            self.size_bytes += size_of_records(records)
            self.appends += 1
            self.changed.notify_all()
            return found.topic_id, places

    def make_room(self, size_bytes: int) -> None:
        """Drop what every group has committed until so many bytes fit. Raises BackpressureError where they do not."""
        limit = self._max_bytes
        while limit is not None and self.size_bytes + size_bytes > limit:
            done = [
                (oldest, floor, partition)
                for topic in self.topics.values()
                for partition in topic.partitions
                if (oldest := partition.oldest_ms) is not None
                and (floor := self._floor(partition)) > partition.earliest
            ]
            if not done:
                raise BackpressureError(
                    f"the memory log is full ({self.size_bytes} of {limit} bytes, {size_bytes} more wanted):"
                    " consumers have to catch up first, or raise its max_bytes"
                )
            _, floor, partition = min(done, key=lambda one: (one[0], one[2].place))
            self.size_bytes -= partition.drop_chunk(floor)

    def _floor(self, partition: PartitionLog) -> int:
        """Below it, every group that reads the topic has committed. 0 where none reads it."""
        place = partition.place
        readers = [group for group in self._groups.values() if place.topic in group.topics]
        return min((group.committed.get(place, 0) for group in readers), default=0)

    # -- groups ------------------------------------------------------------------------------------------------------

    def group(self, name: str) -> Group:
        return self._groups.setdefault(name, Group())

    def committed(self, group: str, place: TopicPartition) -> int | None:
        found = self._groups.get(group)
        return None if found is None else found.committed.get(place)

    def join(self, group: str, topics: Iterable[str]) -> int:
        """A new member; returns its number."""
        member = next(self._members)
        self.group(group).join(member, topics)
        self.rebalanced()
        return member

    def leave(self, group: str, member: int) -> None:
        """The member goes, or is given up as dead: all that it owned is free at once."""
        with self.changed:
            self.group(group).leave(member)
            self.rebalanced()

    def rebalanced(self) -> None:
        self.rebalances += 1
        self.changed.notify_all()
