"""Orders as they are placed, and how a repeated request is told from a new one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flowguard.domain.errors import FlowGuardError

MAX_KEY = 255
"""Characters of an idempotency key."""


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """An order as it was placed. `document` is the payload as it was sent (JSON); `placed_at` is aware, UTC.

    `source` and `event_id` are the identity of the event that tells of it.
    """

    order_id: str
    source: str
    event_id: str
    document: bytes
    placed_at: datetime


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What a client calls one request, however often it sends it. Keys of different scopes are different keys.

    `fingerprint` is a digest of the request: the same key must come with the same request.
    """

    scope: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Placement:
    """What became of a request. `repeated`: it was carried out before, and `order` is what it led to then."""

    order: PlacedOrder
    repeated: bool


class OrderExistsError(FlowGuardError):
    """There is an order of that id, or an event of that id and source. Nothing was stored."""


class KeyReusedError(FlowGuardError):
    """The idempotency key belongs to another request. Nothing was stored."""
