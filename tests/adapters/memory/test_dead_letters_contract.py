from __future__ import annotations

import pytest

from flowguard.adapters.memory import MemoryDeadLetterQueue
from tests.adapters.memory.storage import MemoryDeadLetterStorage
from tests.contracts.dead_letters import DeadLetterContract


class TestMemoryDeadLetterQueue(DeadLetterContract):
    adapter = MemoryDeadLetterQueue

    @pytest.fixture
    def storage(self) -> MemoryDeadLetterStorage:
        return MemoryDeadLetterStorage()
