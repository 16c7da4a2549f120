from __future__ import annotations

import pytest

from flowguard.adapters.memory import MemoryLedger, MemoryWarehouse
from tests.adapters.memory.storage import MemorySinkStorage
from tests.builders import CLICKS, event, rows
from tests.contracts.ledger import LedgerContract


class TestMemoryLedger(LedgerContract):
    adapter = MemoryLedger

    @pytest.fixture
    def storage(self) -> MemorySinkStorage:
        return MemorySinkStorage()


def test_rows_that_are_doubled_behind_the_back_of_the_sink_are_named() -> None:
    """The proof would be worth nothing if it could not fail."""
    warehouse = MemoryWarehouse()
    ledger = MemoryLedger(warehouse)
    twice = rows(CLICKS, {0: event(CLICKS, "a"), 1: event(CLICKS, "b")})
    table = warehouse.table(CLICKS)
    table.rows += twice.values
    table.rows += twice.values[:1]
    assert list(ledger.doubled(CLICKS)) == [f"{CLICKS.topic}-0-0", "shop/a"]
    assert list(ledger.doubled(CLICKS, limit=1)) == [f"{CLICKS.topic}-0-0"]


def test_a_row_without_all_of_its_metadata_is_told_apart() -> None:
    warehouse = MemoryWarehouse()
    old, new = rows(CLICKS, [0, 1]).values
    warehouse.table(CLICKS).rows += [(*old[:8], None, *old[9:]), new]
    summary = MemoryLedger(warehouse).summary(CLICKS)
    assert (summary.rows, summary.metadata_complete) == (2, 1)
