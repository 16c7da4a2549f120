"""What every OrderRepository must do."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import ClassVar

import pytest

from flowguard.domain.errors import TransientError
from flowguard.domain.orders import KeyReusedError, OrderExistsError, Placement
from flowguard.domain.outbox import OutboxMessage
from flowguard.ports.orders import OrderRepository
from tests.builders import NOW
from tests.contracts.order_case import key, message, order, place
from tests.contracts.storage import OrderStorage


class OrderContract:
    """Set `adapter`, and give the fixture `storage`, a fresh OrderStorage."""

    adapter: ClassVar[type[OrderRepository]]

    @pytest.fixture
    def storage(self) -> OrderStorage:
        raise NotImplementedError("the subclass makes a fresh storage")

    @pytest.fixture
    def orders(self, storage: OrderStorage) -> Iterator[OrderRepository]:
        orders = storage.orders()
        assert isinstance(orders, self.adapter)
        yield orders
        orders.close()

    def messages(self, storage: OrderStorage) -> list[OutboxMessage]:
        """All that waits in the outbox."""
        outbox = storage.outbox()
        taken = outbox.take(1_000)
        assert taken is not None
        outbox.close()
        return [one.message for one in taken]

    # -- placing -----------------------------------------------------------------------------------------------------

    def test_an_order_and_its_message_are_kept_as_they_are(
        self, orders: OrderRepository, storage: OrderStorage
    ) -> None:
        orders.check()
        placed, told = order("o1"), message("e-o1")
        assert orders.place(placed, told, None) == Placement(placed, repeated=False)
        assert orders.get("o1") == placed
        assert orders.get("o2") is None
        assert self.messages(storage) == [told]

    @pytest.mark.parametrize("with_key", [False, True])
    def test_an_order_id_is_taken_once(self, orders: OrderRepository, storage: OrderStorage, with_key: bool) -> None:
        orders.place(order("o1"), message("e-o1"), None)
        again = replace(order("o1", event_id="another"), document=b"{}")
        with pytest.raises(OrderExistsError, match="'o1'"):
            orders.place(again, message("another"), key() if with_key else None)
        assert orders.get("o1") == order("o1")
        assert len(self.messages(storage)) == 1

    def test_an_event_id_is_taken_once_by_each_source(self, orders: OrderRepository, storage: OrderStorage) -> None:
        """The sink would take the second order's event for the first one's."""
        orders.place(order("o1", event_id="e"), message("e"), None)
        with pytest.raises(OrderExistsError, match="event id 'e'"):
            orders.place(order("o2", event_id="e"), message("e"), None)
        assert orders.get("o2") is None
        orders.place(order("o3", event_id="e", source="another"), message("e"), None)
        assert len(self.messages(storage)) == 2

    # -- keys --------------------------------------------------------------------------------------------------------

    def test_a_repeated_key_gets_the_first_order_and_stores_nothing(
        self, orders: OrderRepository, storage: OrderStorage
    ) -> None:
        first = order("o1")
        assert not orders.place(first, message("e-o1"), key()).repeated
        later = replace(order("o1", event_id="made-later"), placed_at=NOW + timedelta(minutes=1))
        another = storage.orders()
        for repository in (orders, another):
            assert repository.place(later, message("made-later"), key()) == Placement(first, repeated=True)
        another.close()
        assert self.messages(storage) == [message("e-o1")]

    def test_a_key_with_another_request_is_refused(self, orders: OrderRepository, storage: OrderStorage) -> None:
        orders.place(order("o1"), message("e-o1"), key())
        with pytest.raises(KeyReusedError, match="'k'"):
            orders.place(order("o2"), message("e-o2"), key(fingerprint=b"two"))
        assert orders.get("o2") is None
        assert len(self.messages(storage)) == 1

    def test_keys_of_another_scope_are_other_keys(self, orders: OrderRepository) -> None:
        orders.place(order("o1"), message("e-o1"), key(scope="shop"))
        assert not orders.place(order("o2"), message("e-o2"), key(scope="app", fingerprint=b"two")).repeated

    def test_a_key_whose_order_was_not_stored_is_free(self, orders: OrderRepository) -> None:
        place(orders, "o1")
        with pytest.raises(OrderExistsError):
            orders.place(order("o1", event_id="x"), message("x"), key())
        assert not orders.place(order("o2"), message("e-o2"), key(fingerprint=b"two")).repeated

    def test_a_key_is_forgotten_in_time(self, storage: OrderStorage) -> None:
        orders = storage.orders(keep_keys_s=60.0)
        orders.place(order("o1"), message("e-o1"), key("old"))
        at = NOW + timedelta(seconds=59)
        orders.place(order("o2", placed_at=at), message("e-o2"), key("new"))
        assert orders.place(order("o1", event_id="y", placed_at=at), message("y"), key("old")).repeated
        late = NOW + timedelta(seconds=61)
        orders.place(order("o3", placed_at=late), message("e-o3"), key("newer"))
        assert orders.place(order("o2", event_id="z", placed_at=late), message("z"), key("new")).repeated
        with pytest.raises(OrderExistsError):
            orders.place(order("o1", event_id="w", placed_at=late), message("w"), key("old"))
        orders.close()

    def test_of_many_at_once_with_one_key_one_is_carried_out(
        self, orders: OrderRepository, storage: OrderStorage
    ) -> None:
        others = [storage.orders() for _ in range(3)]
        together = Barrier(8)

        def attempt(number: int) -> Placement:
            repository = [orders, *others][number % 4]
            together.wait(20)
            return repository.place(order("o1", event_id=f"e{number}"), message(f"e{number}"), key())

        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(attempt, range(8)))
        assert [one.repeated for one in done].count(False) == 1
        assert len({one.order.event_id for one in done}) == 1
        (told,) = self.messages(storage)
        assert told.event_id == done[0].order.event_id
        for one in others:
            one.close()

    # -- life --------------------------------------------------------------------------------------------------------

    def test_orders_outlive_the_repository_that_took_them(self, orders: OrderRepository, storage: OrderStorage) -> None:
        orders.place(order("o1"), message("e-o1"), key())
        orders.close()
        orders.close()
        with pytest.raises(TransientError):
            orders.place(order("o2"), message("e-o2"), None)
        with pytest.raises(TransientError):
            orders.check()
        reopened = storage.orders()
        assert reopened.get("o1") == order("o1")
        assert reopened.place(order("o1", event_id="x"), message("x"), key()).repeated
        reopened.close()
