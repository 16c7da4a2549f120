from __future__ import annotations

import pytest

from flowguard.adapters.memory import MemoryOrderRepository, MemoryOutbox
from tests.adapters.memory.storage import MemoryOrderStorage
from tests.contracts.orders import OrderContract
from tests.contracts.outbox import OutboxContract


class TestMemoryOrderRepository(OrderContract):
    adapter = MemoryOrderRepository

    @pytest.fixture
    def storage(self) -> MemoryOrderStorage:
        return MemoryOrderStorage()


class TestMemoryOutbox(OutboxContract):
    adapter = MemoryOutbox

    @pytest.fixture
    def storage(self) -> MemoryOrderStorage:
        return MemoryOrderStorage()
