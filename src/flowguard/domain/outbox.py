"""What waits in an outbox: an event that was stored together with its cause, and is not in the log yet."""

from __future__ import annotations

from dataclasses import dataclass

from flowguard.domain.ingestion import Headers


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A record on its way to `topic`, as the log will keep it. `event_id` is the event's own, for people to read."""

    event_id: str
    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = ()
