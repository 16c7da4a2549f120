from __future__ import annotations

import pytest

from flowguard.adapters.memory import MemoryEventLog, MemoryEventPublisher, MemoryEventSource, MemoryLog
from tests.adapters.memory.storage import MemoryLogStorage
from tests.contracts.event_log import EventLogContract
from tests.contracts.publisher import BoundedLogContract, PublisherContract
from tests.contracts.source import SharedGroupContract, SourceContract


class OnMemory:
    @pytest.fixture
    def storage(self) -> MemoryLogStorage:
        return MemoryLogStorage()


class TestMemoryEventLog(OnMemory, EventLogContract):
    adapter = MemoryEventLog


class TestMemoryEventPublisher(OnMemory, PublisherContract):
    adapter = MemoryEventPublisher


class TestMemoryEventSource(OnMemory, SourceContract, SharedGroupContract):
    adapter = MemoryEventSource


class TestBoundedMemoryLog(BoundedLogContract):
    @pytest.fixture
    def storage(self) -> MemoryLogStorage:
        return MemoryLogStorage(MemoryLog(max_bytes=self.limit_bytes))
