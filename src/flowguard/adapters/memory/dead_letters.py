"""Dead letters in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from threading import RLock

from flowguard.domain.audit import OffsetRanges
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.ingestion import IngestionId, TopicPartition
from flowguard.ports.dead_letters import DeadLetterQueue, State, StoredDeadLetter


class MemoryDeadLetterQueue(DeadLetterQueue):
    """Its own storage: closing it lets go of nothing, and it can be used again after a restart."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._letters: dict[IngestionId, StoredDeadLetter] = {}

    def put(self, letters: Sequence[DeadLetter], now: datetime) -> None:
        now = now.astimezone(UTC)
        with self._lock:
            for letter in letters:
                known = self._letters.get(letter.ingestion_id)
                self._letters[letter.ingestion_id] = (
                    StoredDeadLetter(letter, 1, now, now, State.OPEN)
                    if known is None
                    else replace(known, letter=letter, attempts=known.attempts + 1, last_seen=now)
                )

    def page(
        self, *, topic: str | None = None, reason: Reason | None = None, state: State | None = None,
        limit: int = 100, after: IngestionId | None = None,
    ) -> Sequence[StoredDeadLetter]:  # fmt: skip
        with self._lock:
            found = (
                stored
                for ingestion_id, stored in self._letters.items()
                if topic in {None, ingestion_id.topic}
                and reason in {None, stored.letter.reason}
                and state in {None, stored.state}
                and (after is None or ingestion_id > after)
            )
            return sorted(found, key=lambda stored: stored.letter.ingestion_id)[:limit]

    def mark(self, ids: Sequence[IngestionId], state: State, now: datetime) -> int:  # noqa: ARG002  # nobody asks when
        with self._lock:
            known = [one for one in dict.fromkeys(ids) if one in self._letters]
            for one in known:
                self._letters[one] = replace(self._letters[one], state=state)
            return len(known)

    def offsets(self, partition: TopicPartition, incarnation: int) -> OffsetRanges:
        with self._lock:
            return OffsetRanges.of(
                one.offset
                for one in self._letters
                if (one.topic, one.partition, one.incarnation) == (*partition, incarnation)
            )

    def close(self) -> None:
        """Nothing is held."""
