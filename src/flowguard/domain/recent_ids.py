"""Which events were logged a moment ago: a client that retries is told so, and nothing is logged twice."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice


class RecentIds:
    """Maps an event's identity to its ingestion id: the `capacity` that were remembered or found last, at most.

    It only saves work. The sink is what guarantees one row an event, over all time; here an identity may be forgotten.
    Not thread-safe.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 0:
            raise ValueError("RecentIds needs a capacity >= 0")
        self._capacity = capacity
        # What goes first stands first. Forgetting some of the oldest at a time keeps the scan over the holes that
        # deletions leave at the front of a dict from being paid once an event.
        self._slack = capacity // 16
        self._ids: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, identity: str) -> str | None:
        """The ingestion id under which it was logged, or None where that is not known (any more)."""
        found = self._ids.get(identity)
        if found is not None:
            self._ids[identity] = self._ids.pop(identity)
        return found

    def remember(self, logged: Iterable[tuple[str, str]]) -> None:
        """These (identity, ingestion id) are in the log. Only what the log acknowledged may be remembered."""
        self._ids.update(logged)
        excess = len(self._ids) - self._capacity
        if excess > 0:
            for identity in list(islice(self._ids, min(len(self._ids), excess + self._slack))):
                del self._ids[identity]


def identity(event_type: str, source: str, event_id: str) -> str:
    """One string, because there are very many. None of the three can hold a NUL, so that two never look alike."""
    return f"{event_type}\0{source}\0{event_id}"
