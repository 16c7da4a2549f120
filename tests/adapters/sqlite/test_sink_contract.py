from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowguard.adapters.sqlite import SqliteEventSink
from tests.adapters.sqlite.storage import SqliteSinkStorage
from tests.contracts.durable import DurableSinkContract
from tests.contracts.sink import SinkContract


class TestSqliteEventSink(SinkContract, DurableSinkContract):
    adapter = SqliteEventSink

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[SqliteSinkStorage]:
        storage = SqliteSinkStorage(tmp_path)
        yield storage
        storage.close()
