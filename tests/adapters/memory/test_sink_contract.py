from __future__ import annotations

import pytest

from flowguard.adapters.memory import MemoryEventSink
from tests.adapters.memory.storage import MemorySinkStorage
from tests.contracts.sink import SinkContract


class TestMemoryEventSink(SinkContract):
    adapter = MemoryEventSink

    @pytest.fixture
    def storage(self) -> MemorySinkStorage:
        return MemorySinkStorage()
