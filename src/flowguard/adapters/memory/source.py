"""Reading the memory log as a member of a consumer group."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic

from flowguard.adapters.memory.log import MemoryLog
from flowguard.domain.errors import TransientError
from flowguard.domain.ingestion import Assignment, Position, RecordRun, TopicPartition
from flowguard.ports.source import EventSource, RebalanceListener


class MemoryEventSource(EventSource):
    """A member of a group of a MemoryLog. One poll returns at most `fetch_bytes`, or one record.

    Rebalances are cooperative: a member keeps what it has, and gives up only what another one is to have.
    """

    def __init__(
        self, log: MemoryLog, group: str, topics: Iterable[str], *, fetch_bytes: int = 4 * 1024 * 1024
    ) -> None:
        self._log = log
        self._group = group
        self._topics = tuple(topics)
        self._fetch_bytes = fetch_bytes
        self._member: int | None = None
        self._owned: set[TopicPartition] = set()
        self._stood: dict[TopicPartition, int] = {}  # where reading goes on, for each that was ever resumed
        self._reading: dict[TopicPartition, None] = {}  # resumed; who was read last is last
        self._settled = -1
        self._closed = False

    def poll(self, timeout_s: float, listener: RebalanceListener) -> Sequence[RecordRun]:
        if self._closed:
            raise TransientError("this source is closed: make another one")
        deadline = monotonic() + timeout_s
        log = self._log
        while True:
            told = self._settle(listener)
            with log.changed:
                gaps = self._skip_gaps()
                runs = self._fetch()
                left = deadline - monotonic()
                done = bool(runs or gaps or told or left <= 0)
                if not done and self._settled == log.rebalances:  # else somebody came or went since
                    log.changed.wait(left)
            for gap in gaps:
                listener.on_gap(*gap)
            if done:
                return runs

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        for place in partitions:
            self._reading.pop(place, None)

    def resume(self, starts: Mapping[TopicPartition, int | None]) -> None:
        with self._log.changed:
            for place, start in starts.items():
                if place not in self._owned:
                    continue
                if start is None:
                    start = self._stood.get(place)  # noqa: PLW2901  # the start, as far as it is known
                if start is None:
                    start = self._log.committed(self._group, place)  # noqa: PLW2901  # as above
                if start is None:
                    partition = self._log.partition(place)
                    start = 0 if partition is None else partition.earliest  # noqa: PLW2901  # as above
                self._stood[place] = start
                self._reading[place] = None

    def commit(self, positions: Iterable[Position]) -> None:
        with self._log.changed:
            group = self._log.group(self._group)
            for place, next_offset in positions:
                if self._holds(place):
                    group.committed[place] = next_offset

    def close(self) -> None:
        self._closed = True
        self.expire()
        self._drop(tuple(self._owned))

    def expire(self) -> None:
        """Have the group give this member up, as a broker does with one that went silent.

        Others get its partitions at once. If it polls again, it is told that it lost them, and joins anew.
        """
        if self._member is not None:
            self._log.leave(self._group, self._member)

    # -- records -----------------------------------------------------------------------------------------------------

    def _skip_gaps(self) -> list[tuple[TopicPartition, int, int]]:
        """Go on at the earliest where reading stands below it; returns what lies between, as `on_gap` takes it."""
        gaps = []
        for place in self._reading:
            partition = self._log.partition(place)
            stood = self._stood[place]
            if partition is not None and stood < partition.earliest and self._holds(place):
                gaps.append((place, stood, partition.earliest - 1))
                self._stood[place] = partition.earliest
        return gaps

    def _fetch(self) -> list[RecordRun]:
        runs: list[RecordRun] = []
        room = self._fetch_bytes
        for place in tuple(self._reading):
            partition = self._log.partition(place)
            if partition is None or not self._holds(place):
                continue  # the next poll says so
            found = partition.read(self._stood[place], sys.maxsize, room)
            if not found or (runs and found[0].size_bytes > room):
                continue
            runs += found
            room -= sum(run.size_bytes for run in found)
            self._stood[place] = found[-1].next_offset
            del self._reading[place]
            self._reading[place] = None  # the others come first next time
            if room <= 0:
                break
        return runs

    # -- the group ---------------------------------------------------------------------------------------------------

    def _settle(self, listener: RebalanceListener) -> bool:
        """Learn what came and went since, and tell the listener, with the log unlocked; returns if it was told."""
        log = self._log
        if self._settled == log.rebalances:
            return False
        with log.changed:
            self._settled = log.rebalances  # what comes while the listener is told is settled next
            group = log.group(self._group)
            lost = [place for place in self._owned if not self._holds(place)]
            self._drop(lost)
            if self._member is None or not group.has(self._member):
                self._member = log.join(self._group, self._topics)
            revoked = sorted(self._owned - self._due())
        if lost:
            listener.on_lost(tuple(lost))
        if revoked:
            listener.on_revoked(tuple(revoked))  # it may still commit, until this returns
        with log.changed:
            if revoked:
                self._drop(revoked)
                group.release(self._member, revoked)
                log.rebalanced()
            new = sorted(place for place in self._due() if place not in group.owners)
            self._owned.update(new)
            group.owners.update(dict.fromkeys(new, self._member))
            assigned = tuple(Assignment(place, log.topic(place.topic).topic_id) for place in new)
        if assigned:
            listener.on_assigned(assigned)
        return bool(lost or revoked or assigned)

    def _due(self) -> set[TopicPartition]:
        """What is, or is to be, this member's."""
        topics = self._log.topics
        group = self._log.group(self._group)
        places = [one.place for name in group.topics if name in topics for one in topics[name].partitions]
        assert self._member is not None  # noqa: S101  # narrows the type; it has joined
        return group.due_to(self._member, places)

    def _holds(self, place: TopicPartition) -> bool:
        """It is ours in the eyes of the group too. The owners of a deleted topic are forgotten with it."""
        return place in self._owned and self._log.group(self._group).owners.get(place) == self._member

    def _drop(self, places: Iterable[TopicPartition]) -> None:
        for place in places:
            self._owned.discard(place)
            self._stood.pop(place, None)
            self._reading.pop(place, None)
