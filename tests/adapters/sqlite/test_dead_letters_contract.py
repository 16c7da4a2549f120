from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowguard.adapters.sqlite import SqliteDeadLetterQueue
from tests.adapters.sqlite.storage import SqliteDeadLetterStorage
from tests.contracts.dead_letters import DeadLetterContract
from tests.contracts.durable import DurableDeadLetterContract


class TestSqliteDeadLetterQueue(DeadLetterContract, DurableDeadLetterContract):
    adapter = SqliteDeadLetterQueue

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[SqliteDeadLetterStorage]:
        storage = SqliteDeadLetterStorage(tmp_path)
        yield storage
        storage.close()
