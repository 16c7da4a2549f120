"""What the records of one dead-letter topic add up to, without their values."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from flowguard.adapters.kafka.letter_headers import Marked, Put
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.dead_letters import Reason
from flowguard.domain.ingestion import IngestionId
from flowguard.ports.dead_letters import State


class Place(NamedTuple):
    """Where a record stands in its dead-letter topic."""

    partition: int
    offset: int


@dataclass(slots=True)
class Entry:
    """A letter. `partition` and `offset` say where it was put last: that record has its bytes, and its newest error."""

    partition: int
    offset: int
    reason: Reason
    attempts: int
    first_seen: datetime
    last_seen: datetime
    state: State = State.OPEN

    @property
    def place(self) -> Place:
        return Place(self.partition, self.offset)


class LetterIndex:
    """The letters of one source topic, folded from its dead-letter topic in the order of its records."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._entries: dict[IngestionId, Entry] = {}
        self._order: list[IngestionId] = []
        self._ordered = True

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, ingestion_id: IngestionId) -> bool:
        return ingestion_id in self._entries

    def fold(self, place: Place, record: Put | Marked | None) -> bool:
        """Take in the next record. False where it is no letter of this topic, nor marks any."""
        if isinstance(record, Marked):
            for one in record.ids:
                if (entry := self._entries.get(one)) is not None:  # else retention has removed the letter
                    entry.state = record.state
            return True
        if record is None or record.ingestion_id.topic != self._topic:
            return False
        known = self._entries.get(record.ingestion_id)
        if known is None:
            # One text for the topic of all of them: a hundred thousand letters are some megabytes less.
            ingestion_id = record.ingestion_id._replace(topic=self._topic)
            self._entries[ingestion_id] = Entry(*place, record.reason, 1, record.put_at, record.put_at)
            self._ordered = self._ordered and (not self._order or self._order[-1] < ingestion_id)
            self._order.append(ingestion_id)
        else:
            known.partition, known.offset = place
            known.reason, known.last_seen = record.reason, record.put_at
            known.attempts += 1
        return True

    def matching(
        self, reason: Reason | None, state: State | None, after: IngestionId | None
    ) -> Iterator[tuple[IngestionId, Entry]]:
        """Those that match, in the order of their ids, from past `after`."""
        if not self._ordered:
            self._order.sort()
            self._ordered = True
        start = 0 if after is None else bisect_right(self._order, after)
        for index in range(start, len(self._order)):
            entry = self._entries[self._order[index]]
            if reason in {None, entry.reason} and state in {None, entry.state}:
                yield self._order[index], entry

    def offsets(self, partition: int, incarnation: int) -> OffsetRanges:
        return OffsetRanges.of(
            one.offset for one in self._entries if one.partition == partition and one.incarnation == incarnation
        )
