"""Fairness among the partitions of one consumer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from flowguard.domain.ingestion import RecordRun, TopicPartition

_REST_S: Final = 0.5

Places = list[TopicPartition]


class Turns:
    """Says which partitions are to rest, and for how long: those that had their share while others get nothing.

    The client has one queue. When that was full it asks the brokers for its partitions in the same order as before, and
    one answer may hold many times its size in compressed records: so the first partitions may be read to their end
    before the others. `share_bytes` is what one may have in a turn; a turn is over when every other one had something.
    """

    def __init__(self, share_bytes: int) -> None:
        self._share_bytes = share_bytes
        self._had: Counter[TopicPartition] = Counter()
        self._resting: Places = []
        self._until = 0.0
        self._silent: dict[TopicPartition, int] = {}  # had nothing when the others rested, up to this end

    def took(self, runs: Iterable[RecordRun]) -> None:
        for run in runs:
            self._had[run.partition] += run.size_bytes

    def change(
        self, now: float, reading: Mapping[TopicPartition, int], end: Callable[[TopicPartition], int]
    ) -> tuple[Places, Places]:
        """Which are to rest from now on, and which are to go on.

        `reading` are those that are read, with the offset that is next, and `end` tells where one ends, as the client
        saw it last.
        """
        if self._resting:
            waiting = self._waiting(reading, end)
            if waiting and now < self._until:
                return [], []
            self._silent.update(waiting)  # its last offsets hold no records, or nobody leads it
            awake, self._resting = self._resting, []
            self._had.clear()
            return [], [place for place in awake if place in reading]
        if self._had and max(self._had.values()) >= self._share_bytes:
            if self._waiting(reading, end):
                self._resting = [place for place, had in self._had.items() if had >= self._share_bytes]
                self._until = now + _REST_S
                return self._resting, []
            self._had.clear()
        return [], []

    def _waiting(
        self, reading: Mapping[TopicPartition, int], end: Callable[[TopicPartition], int]
    ) -> dict[TopicPartition, int]:
        """Those that had nothing in this turn, and are not at their end."""
        ends = {place: end(place) for place in reading if place not in self._had}
        return {place: at for place, at in ends.items() if at > reading[place] and self._silent.get(place) != at}
