from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from flowguard.adapters.snowflake import Part, SnowflakeBackfill, migrate
from flowguard.domain.catalog import BUILT_IN
from flowguard.domain.rows import SinkBatch
from tests.adapters.snowflake.original import OriginalStorage
from tests.builders import ORDERS, event, rows
from tests.contracts.backfill import BackfillContract, UpgradeStorage

pytestmark = pytest.mark.snowflake


@pytest.fixture
def first(snowflake_url: str) -> Iterator[OriginalStorage]:
    storage = OriginalStorage(snowflake_url, grown=False)
    yield storage
    storage.close()


@pytest.fixture
def grown(snowflake_url: str) -> Iterator[OriginalStorage]:
    storage = OriginalStorage(snowflake_url, grown=True)
    yield storage
    storage.close()


class TestSnowflakeBackfill(BackfillContract):
    adapter = SnowflakeBackfill

    @pytest.fixture
    def first(self, first: OriginalStorage) -> OriginalStorage:
        return first

    @pytest.fixture
    def grown(self, grown: OriginalStorage) -> OriginalStorage:
        return grown

    def lose_metadata(self, storage: UpgradeStorage, table: str, count: int) -> None:
        assert isinstance(storage, OriginalStorage)
        storage.execute(
            f"UPDATE {table} SET EVENT_ID = NULL, INGESTION_ID = NULL, PRODUCER_SERVICE = NULL,"
            " SOURCE_PARTITION = NULL, SOURCE_OFFSET = NULL"
            f" WHERE ID > (SELECT MAX(ID) - {count} FROM {table})"
        )


def test_the_statements_are_shown_beforehand(grown: OriginalStorage) -> None:
    shown = migrate(grown.url, [*Part], BUILT_IN, dry_run=True)
    assert "event_id" not in grown.rows("orders")[0]
    (orders,) = [step for step in shown if step.part == "table orders"]
    for part in ('ADD COLUMN "PAYLOAD" VARIANT', 'ALTER COLUMN "ITEMS" DROP NOT NULL', 'DROP COLUMN "TOTAL"'):
        assert any(part in statement for statement in orders.statements), part
    assert shown == migrate(grown.url, [*Part], BUILT_IN)
    assert migrate(grown.url, [*Part], BUILT_IN) == []


def test_what_the_old_columns_would_have_rounded_lands_whole(grown: OriginalStorage) -> None:
    grown.upgrade()
    line = {"item_id": "1", "quantity": 1, "unit_price": Decimal("0.1234")}
    long = "u" * 200
    given = {0: event(ORDERS, "a", user_id=long, lines=[line], total=Decimal("0.1234"))}
    grown.sink().write(SinkBatch((rows(ORDERS, given, partition=2),), ()))
    (found,) = grown.ledger().recent(ORDERS, 1)
    assert (found["user_id"], found["total"]) == (long, Decimal("0.1234"))
