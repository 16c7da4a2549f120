"""PlaceOrder: an order into its table and, in the same transaction, its event into the outbox."""

from __future__ import annotations

import hashlib

import msgspec

from flowguard.application.composing import Composer, InvalidEventError
from flowguard.application.intake import Defaults, EventFault
from flowguard.domain.catalog import EventType
from flowguard.domain.errors import ConfigurationError
from flowguard.domain.events import Envelope
from flowguard.domain.orders import IdempotencyKey, PlacedOrder, Placement
from flowguard.domain.telemetry import OrderPlaced
from flowguard.ports.clock import Clock
from flowguard.ports.orders import OrderRepository
from flowguard.ports.telemetry import Telemetry

STREAM = "orders"
"""The event type that tells of an order."""

ID = "order_id"
"""The field that names one."""

# Sorted: a client that sends the same object again may have its members in another order.
_canonical = msgspec.json.Encoder(decimal_format="number", order="sorted").encode
_envelope = msgspec.json.Decoder(Envelope).decode


class PlaceOrder:
    """Sync, and blocking; callable from several threads at once.

    `event_type` is the catalog's `orders`, of whatever model: it needs a field `order_id`, a text. Raises
    ConfigurationError where it has none.
    """

    def __init__(
        self,
        event_type: EventType,
        orders: OrderRepository,
        clock: Clock,
        telemetry: Telemetry,
        *,
        defaults: Defaults,
        binary: bool = False,
    ) -> None:
        if ID not in event_type.model.model_fields:
            raise ConfigurationError(
                f"the model {event_type.model.__name__} of {event_type.name} has no field {ID}: orders are told apart"
                " by it. Add it, or leave orders_url empty"
            )
        self.event_type = event_type
        self._composer = Composer(event_type, defaults, binary=binary)
        self._orders = orders
        self._clock = clock
        self._telemetry = telemetry

    def place(self, order: object, key: str | None = None, *, clean: bool = False) -> Placement:
        """Place it, or tell what the first request with this idempotency key led to.

        `order` is a dict as `Publish.publish` takes it. A key belongs to the service that sends it (`source`) and to
        the order it came with first. Raises InvalidEventError, and what OrderRepository.place raises.
        """
        started = self._clock.monotonic()
        now = self._clock.now()
        message, event = self._composer.compose(order, now, clean=clean)
        order_id = None if event.data is None else event.data.get(ID)
        if not isinstance(order_id, str) or not order_id:
            fault = EventFault(f"{event.names.payload}/{ID}", "must be a text that is not empty")
            raise InvalidEventError(self.event_type.name, [fault])
        document = bytes(_envelope(event.value).data)
        placed = PlacedOrder(order_id, event.source, event.event_id, document, now)
        idempotency = None
        if key is not None:
            idempotency = IdempotencyKey(event.source, key, hashlib.sha256(_canonical(order)).digest())
        placement = self._orders.place(placed, message, idempotency)
        self._telemetry.emit(OrderPlaced(placement.repeated, self._clock.monotonic() - started))
        return placement

    def check(self) -> None:
        """Raise TransientError or ConfigurationError, with how to mend it, if no order could be placed now."""
        self._orders.check()
