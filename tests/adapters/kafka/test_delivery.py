"""The delivery reports of one request, as one answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from flowguard.adapters.kafka.delivery import Answer, Delivery, resolve
from flowguard.domain.errors import UnknownOutcomeError

if TYPE_CHECKING:
    from confluent_kafka import Message


class _Delivered:
    """Stands for a Message, which only the client can make with a place."""

    def __init__(self, offset: int | None) -> None:
        self._offset = offset

    def partition(self) -> int:
        return 1

    def offset(self) -> int | None:
        return self._offset


def _answer(*offsets: int | None) -> object:
    async def once() -> object:
        def settle(delivery: Delivery, answer: Answer) -> None:
            resolve(delivery.future, answer)

        delivery = Delivery("raw.things.v1", len(offsets), 10, asyncio.get_running_loop(), settle)
        for report, offset in zip(delivery.reports(), offsets, strict=True):
            report(None, cast("Message", _Delivered(offset)))
        return await delivery.future

    return asyncio.run(once())


def test_each_record_has_its_place() -> None:
    assert _answer(7, 8) == [(1, 7), (1, 8)]


def test_a_record_whose_place_the_brokers_forgot_is_an_unknown_outcome() -> None:
    """A duplicate of the idempotent producer: delivered, and no offset is known."""
    with pytest.raises(UnknownOutcomeError, match="does not say where"):
        _answer(7, None, 8)
