"""Orders and messages for the suites of orders and outbox."""

from __future__ import annotations

from datetime import datetime

from flowguard.domain.orders import IdempotencyKey, PlacedOrder
from flowguard.domain.outbox import OutboxMessage
from flowguard.ports.orders import OrderRepository
from tests.builders import NOW, ORDERS, event


def order(order_id: str, *, event_id: str = "", source: str = "shop", placed_at: datetime = NOW) -> PlacedOrder:
    document = b'{"order_id": "%b", "total": 19.9800, "note": "\xc3\xa9"}' % order_id.encode()
    return PlacedOrder(order_id, source, event_id or f"e-{order_id}", document, placed_at)


def message(event_id: str, *, key: bytes | None = b"u1", topic: str = ORDERS.topic) -> OutboxMessage:
    return OutboxMessage(event_id, topic, key, event(ORDERS, event_id), (("trace", b"\x00\xff"), ("trace", b"")))


def key(name: str = "k", *, scope: str = "shop", fingerprint: bytes = b"one") -> IdempotencyKey:
    return IdempotencyKey(scope, name, fingerprint)


def place(orders: OrderRepository, *order_ids: str) -> None:
    for one in order_ids:
        placed = order(one)
        orders.place(placed, message(placed.event_id), None)
