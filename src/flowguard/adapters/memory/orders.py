"""Orders and their outbox in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from threading import Condition

from flowguard.domain.errors import TransientError
from flowguard.domain.orders import IdempotencyKey, KeyReusedError, OrderExistsError, PlacedOrder, Placement
from flowguard.domain.outbox import OutboxMessage
from flowguard.ports.orders import OrderRepository
from flowguard.ports.outbox import Outbox, Waiting


@dataclass
class MemoryOrders:
    """The storage itself: it outlives the adapters that are made on it."""

    changed: Condition = field(default_factory=Condition)
    orders: dict[str, PlacedOrder] = field(default_factory=dict)
    events: set[tuple[str, str]] = field(default_factory=set)
    keys: dict[tuple[str, str], tuple[bytes, str, datetime]] = field(default_factory=dict)
    """(scope, key) to fingerprint, order id and when it was placed."""
    messages: dict[int, OutboxMessage] = field(default_factory=dict)
    sent: dict[int, datetime] = field(default_factory=dict)
    ids: count[int] = field(default_factory=lambda: count(1))
    leader: object = None

    def put(self, message: OutboxMessage) -> None:
        """Have the message wait."""
        with self.changed:
            self.messages[next(self.ids)] = message
            self.changed.notify_all()


class MemoryOrderRepository(OrderRepository):
    """Nothing in it ever waits. `keep_keys_s`: seconds that a key is remembered."""

    def __init__(self, storage: MemoryOrders, *, keep_keys_s: float = 86_400.0) -> None:
        self._storage = storage
        self._keep = timedelta(seconds=keep_keys_s)
        self._closed = False

    def place(self, order: PlacedOrder, message: OutboxMessage, key: IdempotencyKey | None) -> Placement:
        self.check()
        with self._storage.changed:
            if key is not None and (known := self._known(key)) is not None:
                return Placement(known, repeated=True)
            if order.order_id in self._storage.orders:
                raise OrderExistsError(f"there is an order {order.order_id!r} already")
            event = (order.source, order.event_id)
            if event in self._storage.events:
                raise OrderExistsError(f"an order with the event id {order.event_id!r} was placed already")
            self._storage.orders[order.order_id] = order
            self._storage.events.add(event)
            if key is not None:
                self._forget_keys(order.placed_at - self._keep)
                self._storage.keys[key.scope, key.key] = (key.fingerprint, order.order_id, order.placed_at)
            self._storage.put(message)
        return Placement(order, repeated=False)

    def get(self, order_id: str) -> PlacedOrder | None:
        self.check()
        with self._storage.changed:
            return self._storage.orders.get(order_id)

    def check(self) -> None:
        if self._closed:
            raise TransientError("these orders are closed: nothing was stored; make another adapter")

    def close(self) -> None:
        self._closed = True

    def _known(self, key: IdempotencyKey) -> PlacedOrder | None:
        found = self._storage.keys.get((key.scope, key.key))
        if found is None:
            return None
        fingerprint, order_id, _ = found
        if fingerprint != key.fingerprint:
            raise KeyReusedError(f"the idempotency key {key.key!r} came with another request before")
        return self._storage.orders[order_id]

    def _forget_keys(self, before: datetime) -> None:
        for name in [name for name, (_, _, at) in self._storage.keys.items() if at < before]:
            del self._storage.keys[name]


class MemoryOutbox(Outbox):
    """One relay's view of the storage."""

    def __init__(self, storage: MemoryOrders) -> None:
        self._storage = storage
        self._closed = False

    def take(self, limit: int) -> Sequence[Waiting] | None:
        with self._open():
            if self._storage.leader not in {None, self}:
                return None
            self._storage.leader = self
            unsent = (one for one in sorted(self._storage.messages) if one not in self._storage.sent)
            return [Waiting(one, self._storage.messages[one]) for one in islice(unsent, limit)]

    def mark_sent(self, ids: Sequence[int], now: datetime) -> None:
        with self._open():
            for one in ids:
                if one in self._storage.messages:
                    self._storage.sent.setdefault(one, now.astimezone(UTC))

    def wait(self, timeout_s: float) -> None:
        with self._open():
            if len(self._storage.sent) == len(self._storage.messages) or self._storage.leader is not self:
                self._storage.changed.wait(timeout_s)

    def clean_up(self, sent_before: datetime, limit: int) -> int:
        with self._open():
            old = [one for one, at in sorted(self._storage.sent.items()) if at < sent_before][:limit]
            for one in old:
                del self._storage.sent[one], self._storage.messages[one]
            return len(old)

    def close(self) -> None:
        with self._storage.changed:
            self._closed = True
            if self._storage.leader is self:
                self._storage.leader = None
                self._storage.changed.notify_all()

    def _open(self) -> Condition:
        if self._closed:
            raise TransientError("this outbox is closed; make another adapter")
        return self._storage.changed
