"""The shop behind `flowguard traffic`: believable, and the same for the same seed."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from pydantic import BaseModel, ValidationError

from flowguard.domain.events import Click, Order
from flowguard.entrypoints.cli.shop import Event, Shop, traffic

START = datetime(2026, 1, 2, tzinfo=UTC)
MODELS: dict[str, type[BaseModel]] = {"clicks": Click, "orders": Order}


def _events(count: int, seed: int = 1) -> list[Event]:
    return list(islice(Shop(seed, START, 0.1).events(), count))


def test_every_event_fits_its_model() -> None:
    for event in _events(2_000):
        MODELS[str(event["event_type"])].model_validate(event)


def test_the_same_seed_gives_the_same_events_and_another_seed_others() -> None:
    assert _events(500) == _events(500)
    assert {event["event_id"] for event in _events(500)}.isdisjoint(event["event_id"] for event in _events(500, seed=2))


def test_only_the_times_follow_from_the_start() -> None:
    later = islice(Shop(1, START + timedelta(days=1), 0.1).events(), 300)
    for one, other in zip(_events(300), later, strict=True):
        assert {**one, "occurred_at": None} == {**other, "occurred_at": None}


def test_event_ids_are_unique_and_times_rise() -> None:
    events = _events(3_000)
    assert len({event["event_id"] for event in events}) == 3_000
    times = [event["occurred_at"] for event in events]
    assert all(a <= b for a, b in pairwise(times))  # type: ignore[operator]  # they are times
    assert timedelta(seconds=200) < times[-1] - times[0] < timedelta(seconds=400)  # type: ignore[operator]


def test_clicks_lead_to_orders_of_what_was_clicked() -> None:
    clicked: dict[object, set[object]] = defaultdict(set)
    orders = 0
    for event in _events(5_000):
        if event["event_type"] == "clicks":
            clicked[event["session_id"]].add(event["item_id"])
        else:
            orders += 1
            lines = Order.model_validate(event).lines
            assert {line.item_id for line in lines} <= clicked[event["session_id"]]
    assert 0.02 < orders / 5_000 < 0.2


def test_some_items_and_visitors_are_busier_than_others() -> None:
    clicks = [event for event in _events(5_000) if event["event_type"] == "clicks"]
    for what in ("item_id", "user_id"):
        counts = Counter(event[what] for event in clicks)
        assert len(counts) > 50
        assert counts.most_common(1)[0][1] > 20 * len(clicks) / 1_000


def test_a_paid_order_is_the_order_again_with_an_id_of_its_own() -> None:
    by_order = defaultdict(list)
    for event in _events(5_000):
        if event["event_type"] == "orders":
            by_order[event["order_id"]].append(event)
    paid = [pair for pair in by_order.values() if len(pair) == 2]
    assert paid
    for created, after in paid:
        assert (created["status"], after["status"]) == ("created", "paid")
        assert created["total"] == after["total"]
        assert created["event_id"] != after["event_id"]


def test_spoiled_events_fit_no_model() -> None:
    shop = Shop(1, START, 0.1)
    for event in islice(shop.events(), 500):
        with pytest.raises(ValidationError):
            MODELS[str(event["event_type"])].model_validate(shop.spoiled(event))


def test_shares_of_spoiled_and_resent_events_are_kept() -> None:
    sent = list(traffic(Shop(3, START, 0.1), 5_000, invalid_share=0.1, resend_share=0.2))
    kinds = Counter(one.kind for one in sent)
    assert sum(kinds.values()) == 5_000
    assert 400 < kinds["rejected"] < 600
    assert 850 < kinds["duplicate"] < 1_150
    seen: set[object] = set()
    for one in sent:
        assert (one.event["event_id"] in seen) == (one.kind == "duplicate")
        seen.add(one.event["event_id"])


def test_without_shares_all_is_new_and_valid() -> None:
    sent = list(traffic(Shop(3, START, 0.1), 300, invalid_share=0, resend_share=0))
    assert {one.kind for one in sent} == {"accepted"}
