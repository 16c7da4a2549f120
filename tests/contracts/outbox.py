"""What every Outbox must do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import ClassVar

import pytest

from flowguard.domain.errors import TransientError
from flowguard.ports.outbox import Outbox
from tests.builders import CLICKS, NOW
from tests.contracts.order_case import message, order, place
from tests.contracts.storage import OrderStorage

LATER = NOW + timedelta(hours=1)


class OutboxContract:
    """Set `adapter`, and give the fixture `storage`, a fresh OrderStorage."""

    adapter: ClassVar[type[Outbox]]

    @pytest.fixture
    def storage(self) -> OrderStorage:
        raise NotImplementedError("the subclass makes a fresh storage")

    @pytest.fixture
    def outbox(self, storage: OrderStorage) -> Iterator[Outbox]:
        outbox = storage.outbox()
        assert isinstance(outbox, self.adapter)
        yield outbox
        outbox.close()

    def put(self, storage: OrderStorage, *order_ids: str) -> None:
        orders = storage.orders()
        place(orders, *order_ids)
        orders.close()

    def taken(self, outbox: Outbox, limit: int = 100) -> list[str]:
        taken = outbox.take(limit)
        assert taken is not None
        assert [one.id for one in taken] == sorted({one.id for one in taken})
        return [one.message.event_id for one in taken]

    def marked(self, outbox: Outbox, number: int) -> None:
        taken = outbox.take(number)
        assert taken is not None
        outbox.mark_sent([one.id for one in taken], NOW)

    # -- taking ------------------------------------------------------------------------------------------------------

    def test_an_empty_one_gives_nothing(self, outbox: Outbox) -> None:
        assert self.taken(outbox) == []
        outbox.mark_sent([], NOW)
        outbox.mark_sent([99], NOW)
        assert outbox.clean_up(LATER, 10) == 0

    def test_a_message_comes_as_it_was_put(self, outbox: Outbox, storage: OrderStorage) -> None:
        orders = storage.orders()
        put = [message("a"), message("b", key=None, topic=CLICKS.topic)]
        orders.place(order("o1"), put[0], None)
        orders.place(order("o2"), put[1], None)
        orders.close()
        taken = outbox.take(10)
        assert taken is not None
        assert [one.message for one in taken] == put

    def test_what_is_not_marked_comes_again_first_and_in_order(self, outbox: Outbox, storage: OrderStorage) -> None:
        self.put(storage, *"abcde")
        assert self.taken(outbox, 2) == self.taken(outbox, 2) == ["e-a", "e-b"]
        self.marked(outbox, 2)
        assert self.taken(outbox, 2) == ["e-c", "e-d"]
        self.put(storage, "f")
        assert self.taken(outbox) == ["e-c", "e-d", "e-e", "e-f"]

    def test_marks_may_have_holes_and_come_twice(self, outbox: Outbox, storage: OrderStorage) -> None:
        self.put(storage, *"abc")
        taken = outbox.take(3)
        assert taken is not None
        outbox.mark_sent([taken[1].id], NOW)
        outbox.mark_sent([taken[1].id], LATER)
        assert self.taken(outbox) == ["e-a", "e-c"]

    def test_many_are_marked_at_once(self, outbox: Outbox, storage: OrderStorage) -> None:
        self.put(storage, *map(str, range(300)))
        self.marked(outbox, 299)
        assert self.taken(outbox) == ["e-299"]

    # -- the lead ----------------------------------------------------------------------------------------------------

    def test_one_has_the_lead_until_it_lets_go(self, outbox: Outbox, storage: OrderStorage) -> None:
        self.put(storage, "a", "b")
        self.marked(outbox, 1)
        other = storage.outbox()
        assert other.take(10) is None
        other.wait(0.01)
        assert self.taken(outbox) == ["e-b"]
        outbox.close()
        assert self.taken(other) == ["e-b"]
        other.close()

    def test_one_without_the_lead_may_mark(self, outbox: Outbox, storage: OrderStorage) -> None:
        """It lost the lead between the log's receipt and its mark."""
        self.put(storage, "a", "b")
        taken = outbox.take(10)
        assert taken is not None
        other = storage.outbox()
        assert other.take(10) is None
        other.mark_sent([taken[0].id], NOW)
        other.close()
        assert self.taken(outbox) == ["e-b"]

    # -- waiting -----------------------------------------------------------------------------------------------------

    def test_waiting_ends_in_time_where_nothing_comes(self, outbox: Outbox) -> None:
        assert self.taken(outbox) == []
        started = time.monotonic()
        outbox.wait(0.05)
        assert time.monotonic() - started < 5

    def test_news_end_a_wait(self, outbox: Outbox, storage: OrderStorage) -> None:
        assert self.taken(outbox) == []
        heard = threading.Event()

        def wait() -> None:
            while not self.taken(outbox):
                outbox.wait(60.0)
            heard.set()

        thread = threading.Thread(target=wait)
        thread.start()
        self.put(storage, "a")
        assert heard.wait(20)
        thread.join()

    def test_news_that_came_before_the_wait_end_it_too(self, outbox: Outbox, storage: OrderStorage) -> None:
        assert self.taken(outbox) == []
        self.put(storage, "a")
        started = time.monotonic()
        outbox.wait(60.0)
        assert time.monotonic() - started < 20

    # -- cleaning up -------------------------------------------------------------------------------------------------

    def test_only_what_was_sent_and_is_old_is_forgotten_so_many_at_once(
        self, outbox: Outbox, storage: OrderStorage
    ) -> None:
        self.put(storage, *"abcdef")
        self.marked(outbox, 3)
        taken = outbox.take(1)
        assert taken is not None
        outbox.mark_sent([taken[0].id], LATER)
        assert outbox.clean_up(NOW, 10) == 0
        assert outbox.clean_up(NOW + timedelta(seconds=1), 2) == 2
        assert outbox.clean_up(NOW + timedelta(seconds=1), 2) == 1
        assert outbox.clean_up(NOW + timedelta(seconds=1), 2) == 0
        assert outbox.clean_up(LATER + timedelta(seconds=1), 2) == 1
        assert self.taken(outbox) == ["e-e", "e-f"]

    # -- life --------------------------------------------------------------------------------------------------------

    def test_a_closed_one_says_so(self, outbox: Outbox) -> None:
        outbox.close()
        outbox.close()
        with pytest.raises(TransientError):
            outbox.take(1)
        with pytest.raises(TransientError):
            outbox.mark_sent([1], NOW)

    def test_marks_outlive_it(self, outbox: Outbox, storage: OrderStorage) -> None:
        self.put(storage, "a", "b")
        self.marked(outbox, 1)
        outbox.close()
        reopened = storage.outbox()
        assert self.taken(reopened) == ["e-b"]
        reopened.close()
