"""A believable shop: visitors who look around, click advertisements and items, and sometimes order. Pure and seeded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import UUID

Event = dict[str, object]
"""One event as it is posted to /v1/events: `event_type`, `event_id`, `occurred_at`, and the fields of its model."""

_ITEMS = 400
_USERS = 5_000
_BROWSING = 40
"""Visitors in the shop at the same time."""
_ORDERS_SHARE = 0.18
"""Visitors who order something before they leave."""
_PAYS_SHARE = 0.9
_PAGES = ("/", "/menu", "/menu/burgers", "/menu/salads", "/menu/desserts", "/offers")
_REFERRERS = (None, None, "https://search.example/", "https://news.example/food", "https://social.example/")
_CURRENCIES = ("EUR", "EUR", "EUR", "USD", "GBP")


@dataclass(slots=True)
class _Visit:
    user_id: str
    session_id: str
    currency: str
    referrer: str | None
    clicks_left: int
    will_order: bool
    basket: list[int] = field(default_factory=list)


class Shop:
    """An endless stream of events in the order in which they happen, about `gap_s` seconds apart.

    The same seed gives the same events, ids included; only their times follow from `start`.

    Prices belong to items, totals are exact sums, a few items and visitors are far busier than the rest, and every
    order is of items that its own session clicked.
    """

    def __init__(self, seed: int, start: datetime, gap_s: float) -> None:
        self._random = Random(seed)
        self._now = start
        self._gap_s = gap_s
        self._prices = [Decimal(self._random.randint(150, 4_900)) / 100 for _ in range(_ITEMS)]
        self._visits = [self._arrival() for _ in range(_BROWSING)]
        self._unpaid: list[Event] = []

    def events(self) -> Iterator[Event]:
        """For ever."""
        while True:
            self._now += timedelta(seconds=self._random.expovariate(1 / self._gap_s))
            if self._unpaid and self._random.random() < 0.05:  # noqa: PLR2004  # orders are paid a little later
                yield self._payment()
                continue
            at = self._random.randrange(len(self._visits))
            visit = self._visits[at]
            if visit.clicks_left:
                yield self._click(visit)
                continue
            self._visits[at] = self._arrival()
            if visit.will_order:
                yield self._order(visit)

    def spoiled(self, event: Event) -> Event:
        """The event with one of the faults that producers make; no model takes it."""
        spoiled = {**event, "event_id": self._id()}
        clicks = ("item_id", "session_id", "user_id", "ad_id")
        match event["event_type"], self._random.randrange(3):
            case "clicks", 0:
                del spoiled[self._random.choice(clicks)]
            case "clicks", _:
                spoiled[self._random.choice(clicks)] = None
            case _, 0:
                spoiled["total"] = Decimal(str(event["total"])) + 1
            case _, 1:
                spoiled["currency"] = "euro"
            case _:
                spoiled["lines"] = []
        return spoiled

    def chance(self) -> float:
        """Uniform in [0, 1), from the same seed."""
        return self._random.random()

    def pick(self, events: list[Event]) -> Event:
        """One of them, from the same seed."""
        return self._random.choice(events)

    def _arrival(self) -> _Visit:
        user = min(int(self._random.paretovariate(0.6)), _USERS)
        return _Visit(
            user_id=f"user-{user}",
            session_id=f"session-{self._random.getrandbits(64):016x}",
            currency=self._random.choice(_CURRENCIES),
            referrer=self._random.choice(_REFERRERS),
            clicks_left=1 + int(self._random.expovariate(1 / 4.0)),
            will_order=self._random.random() < _ORDERS_SHARE,
        )

    def _click(self, visit: _Visit) -> Event:
        item = min(int(self._random.paretovariate(0.8)), _ITEMS) - 1
        visit.clicks_left -= 1
        visit.basket.append(item)
        event = self._event("clicks", visit)
        event |= {"item_id": str(item + 1), "ad_id": f"food_{item + 1}", "page": self._random.choice(_PAGES)}
        if visit.referrer is not None:
            event["referrer"] = visit.referrer
        return event

    def _order(self, visit: _Visit) -> Event:
        chosen = self._random.sample(visit.basket, k=min(len(visit.basket), self._random.randint(1, 4)))
        lines = [
            {
                "item_id": str(item + 1),
                "quantity": self._random.choice((1, 1, 1, 2, 3)),
                "unit_price": self._prices[item],
            }
            for item in sorted(set(chosen))
        ]
        total = sum(
            (Decimal(str(line["quantity"])) * self._prices[int(str(line["item_id"])) - 1] for line in lines), Decimal(0)
        )
        order = self._event("orders", visit)
        order |= {
            "order_id": f"order-{self._random.getrandbits(48):012x}",
            "lines": lines,
            "currency": visit.currency,
            "total": total,
            "status": "created",
        }
        if self._random.random() < _PAYS_SHARE:
            self._unpaid.append(order)
        return order

    def _payment(self) -> Event:
        order = self._unpaid.pop(0)
        return {**order, "event_id": self._id(), "occurred_at": self._now, "status": "paid"}

    def _event(self, event_type: str, visit: _Visit) -> Event:
        return {
            "event_type": event_type,
            "event_id": self._id(),
            "occurred_at": self._now,
            "source": "shop",
            "user_id": visit.user_id,
            "session_id": visit.session_id,
        }

    def _id(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))


@dataclass(frozen=True, slots=True)
class Sent:
    """An event on its way, and what a gateway should make of it: accepted, duplicate or rejected."""

    event: Event
    kind: str


def traffic(shop: Shop, count: int, *, invalid_share: float, resend_share: float) -> Iterator[Sent]:
    """So many events of the shop; of these, the shares are spoiled, or are one of the last hundred sent again."""
    recent: list[Event] = []
    fresh = shop.events()
    for _ in range(count):
        chance = shop.chance()
        if recent and chance < resend_share:
            yield Sent(shop.pick(recent), "duplicate")
        elif chance >= 1 - invalid_share:
            yield Sent(shop.spoiled(next(fresh)), "rejected")
        else:
            event = next(fresh)
            recent = [*recent[-99:], event]
            yield Sent(event, "accepted")
