"""Realistic records, rows and dead letters: encoded as the gateway does it, decoded as the consumer does it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from pydantic import BaseModel

from flowguard.domain import payload
from flowguard.domain.batching import Batch
from flowguard.domain.catalog import BUILT_IN, Catalog, EventType
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.decoding import BatchDecoder
from flowguard.domain.events import Envelope
from flowguard.domain.ingestion import (
    INGESTION_ID_HEADER,
    Claim,
    Headers,
    IngestionId,
    RecordRun,
    TopicPartition,
)
from flowguard.domain.rows import Rows


class Measurement(BaseModel):
    """One field of every kind of column, and one that may be missing."""

    device: str
    count: int
    level: float
    price: Decimal
    working: bool
    seen_at: datetime
    tags: dict[str, Any]
    note: str | None = None


CLICKS, ORDERS = BUILT_IN
MEASUREMENTS = EventType("measurements", Measurement, key="device", partitions=2)
CATALOG = Catalog([*BUILT_IN, MEASUREMENTS])
"""What the storages of the contract suites have to have tables for."""

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
NOW_MS = 1_767_323_045_678
_DECODER = BatchDecoder(CATALOG)

SAMPLES: Mapping[str, Mapping[str, object]] = {
    "clicks": {"user_id": "u1", "session_id": "s1", "item_id": "42", "ad_id": "food_42"},
    "orders": {
        "order_id": "o1",
        "user_id": "u1",
        "session_id": "s1",
        "lines": [{"item_id": "42", "quantity": 2, "unit_price": Decimal("9.9900")}],
        "currency": "EUR",
        "total": Decimal("19.98"),
        "status": "paid",
    },
    "measurements": {
        "device": "d1",
        "count": 7,
        "level": 0.5,
        "price": Decimal("12.3400"),
        "working": True,
        "seen_at": "2026-01-02T05:04:05.678901+02:00",
        "tags": {"a": [1, None, "é"]},
    },
}


def event(
    event_type: EventType,
    event_id: str,
    *,
    source: str = "shop",
    subject: str | None = None,
    occurred_at: datetime = NOW,
    **fields: object,
) -> bytes:
    """A valid event as the log keeps it; `fields` go over the sample of its type."""
    return msgspec.json.encode(
        Envelope(
            id=event_id,
            source=source,
            type=event_type.name,
            time=occurred_at,
            schemaversion=event_type.version,
            subject=subject,
            data=msgspec.Raw(payload.encode({**SAMPLES[event_type.name], **fields})),
        )
    )


def place(event_type: EventType, partition: int = 0) -> TopicPartition:
    return TopicPartition(event_type.topic, partition)


def run(
    partition: TopicPartition, values: Mapping[int, bytes], headers: Mapping[int, Headers] | None = None
) -> RecordRun:
    """Records by offset."""
    return RecordRun(
        partition,
        list(values),
        list(values.values()),
        [NOW_MS] * len(values),
        None,
        None if headers is None else [headers.get(offset, ()) for offset in values],
    )


def rows(
    event_type: EventType,
    events: Mapping[int, bytes] | Iterable[int],
    *,
    partition: int = 0,
    incarnation: int = 1,
    first_ids: Mapping[int, IngestionId] | None = None,
) -> Rows:
    """Rows by offset, decoded from events. Bare offsets get events of their own, the same for the same place.

    `first_ids`: records that were relayed, with the ingestion ids that they carry along.
    """
    where = place(event_type, partition)
    if not isinstance(events, Mapping):
        events = {offset: event(event_type, f"{incarnation}/{partition}/{offset}") for offset in events}
    headers = {at: ((INGESTION_ID_HEADER, str(one).encode()),) for at, one in (first_ids or {}).items()}
    return rows_of(run(where, events, headers or None), incarnation)


def rows_of(logged: RecordRun, incarnation: int = 1) -> Rows:
    """The rows of records that were read from a log. Raises ValueError where one of them is no event."""
    claims = {logged.partition: Claim(logged.partition, incarnation, 0, None)}
    decoded = _DECODER.decode(Batch(1, (logged,)), claims, NOW)
    if decoded.rejections or len(decoded.rows) != 1:
        raise ValueError(f"these are no rows: {decoded}")
    return decoded.rows[0]


def letter(
    offset: int,
    *,
    topic: str = CLICKS.topic,
    partition: int = 0,
    incarnation: int = 1,
    reason: Reason = Reason.INVALID,
    error: str = "/user_id: Field required",
    event_id: str | None = None,
) -> DeadLetter:
    """A dead letter with bytes that are neither text nor JSON, and headers of the same name."""
    return DeadLetter(
        IngestionId(topic, incarnation, partition, offset),
        reason,
        error,
        b"key\xff",
        b"{\x00\xfe",
        (("trace", b"1\x00"), ("trace", b"2")),
        NOW_MS,
        event_id,
    )
