from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.sqlite.storage import SqliteSinkStorage
from tests.contracts.schema import SchemaContractCase


class TestSqliteSchemaContracts(SchemaContractCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[SqliteSinkStorage]:
        storage = SqliteSinkStorage(tmp_path)
        yield storage
        storage.close()
