"""Publishing to the memory log."""

from __future__ import annotations

from collections.abc import Sequence

from flowguard.adapters.memory.log import MemoryLog
from flowguard.domain.errors import TransientError
from flowguard.ports.publisher import EventPublisher, NewRecord, Receipt


class MemoryEventPublisher(EventPublisher):
    """Appends to a MemoryLog. Nothing in it ever waits."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._closed = False

    async def publish(self, topic: str, records: Sequence[NewRecord]) -> Receipt:
        self._check_open()
        topic_id, places = self._log.append(topic, records)
        return Receipt(topic_id, places)

    async def check(self) -> None:
        self._check_open()
        with self._log.changed:
            self._log.make_room(1)

    async def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise TransientError("this publisher is closed: nothing was kept; make another one")
