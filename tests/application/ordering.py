"""PlaceOrder and the relay of its outbox, on memory, with repositories and outboxes that fail when told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import count
from typing import Any

from flowguard.adapters.memory import MemoryOrderRepository, MemoryOrders, MemoryOutbox
from flowguard.adapters.system import RecordingTelemetry
from flowguard.application.intake import Defaults
from flowguard.application.orders import PlaceOrder
from flowguard.domain.orders import IdempotencyKey, PlacedOrder, Placement
from flowguard.domain.outbox import OutboxMessage
from flowguard.ports.orders import OrderRepository
from flowguard.ports.outbox import Outbox, Waiting
from tests.application.publishing import StillClock
from tests.builders import ORDERS, SAMPLES


def order(**fields: object) -> dict[str, Any]:
    return {**SAMPLES["orders"], **fields}


class FaultyOrders(OrderRepository):
    """Raises the next of `errors`, once each; with `applied`, the order is kept first. `held` is run before all."""

    def __init__(self, inner: OrderRepository) -> None:
        self.inner = inner
        self.errors: list[Exception] = []
        self.applied = False
        self.held: Callable[[], object] = lambda: None
        self.trouble: Exception | None = None

    def place(self, order: PlacedOrder, message: OutboxMessage, key: IdempotencyKey | None) -> Placement:
        self.held()
        if self.errors:
            if self.applied:
                self.inner.place(order, message, key)
            raise self.errors.pop(0)
        return self.inner.place(order, message, key)

    def get(self, order_id: str) -> PlacedOrder | None:
        return self.inner.get(order_id)

    def check(self) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.inner.check()

    def close(self) -> None:
        self.inner.close()


class FaultyOutbox(Outbox):
    """Raises the next of `errors[method]`, once each. `waited` counts the waits that ended."""

    def __init__(self, inner: Outbox) -> None:
        self.inner = inner
        self.errors: dict[str, list[Exception]] = {}
        self.on_wait: Callable[[], None] = lambda: None

    def take(self, limit: int) -> Sequence[Waiting] | None:
        self._fail("take")
        return self.inner.take(limit)

    def mark_sent(self, ids: Sequence[int], now: datetime) -> None:
        self._fail("mark_sent")
        self.inner.mark_sent(ids, now)

    def wait(self, timeout_s: float) -> None:
        self._fail("wait")
        self.on_wait()
        self.inner.wait(timeout_s)

    def clean_up(self, sent_before: datetime, limit: int) -> int:
        self._fail("clean_up")
        return self.inner.clean_up(sent_before, limit)

    def close(self) -> None:
        self.inner.close()

    def _fail(self, method: str) -> None:
        if self.errors.get(method):
            raise self.errors[method].pop(0)


class Counter:
    """A PlaceOrder and all that it touches. Event ids that it makes up are made-1, made-2, ..."""

    def __init__(self, *, binary: bool = False) -> None:
        self.hub = MemoryOrders()
        self.orders = FaultyOrders(MemoryOrderRepository(self.hub))
        self.outbox = FaultyOutbox(MemoryOutbox(self.hub))
        self.telemetry = RecordingTelemetry()
        made = count(1)
        self.place = PlaceOrder(
            ORDERS,
            self.orders,
            StillClock(),
            self.telemetry,
            defaults=Defaults(lambda: f"made-{next(made)}", "gateway"),
            binary=binary,
        )

    @property
    def messages(self) -> list[OutboxMessage]:
        """Those that wait."""
        return [one for at, one in sorted(self.hub.messages.items()) if at not in self.hub.sent]
