"""What a KafkaEventSource knows of one partition."""

from __future__ import annotations

from dataclasses import dataclass

from flowguard.domain.ingestion import TopicPartition


@dataclass(slots=True)
class PartitionState:
    """A partition that the listener was told of."""

    topic_id: str
    reading: bool = False  # resumed
    start: int | None = None  # where to start, if that was said
    standing: bool = False  # the client knows where to read
    stood: int = 0  # where the next record is expected, while it is standing
    truncated: bool = False  # the log has other records now than those that were read
    short_since: float | None = None  # it seems to end before what was read of it


def truncated(place: TopicPartition, end: int, start: int) -> str:
    """What to say of a log that ends before what was read of it."""
    return (
        f"{place} ends at offset {end}, and was read up to {start}: the log was truncated or set back. New records"
        " would get offsets that are taken, and be passed over as duplicates. Delete the topic and make it again"
        " (`flowguard migrate`): then its events get ids of their own"
    )
