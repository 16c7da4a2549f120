from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from flowguard.adapters.snowflake import Part, SnowflakeBackfill, migrate
from flowguard.domain.catalog import BUILT_IN
from flowguard.domain.errors import ConfigurationError
from flowguard.domain.rows import Merged, SinkBatch
from tests.adapters.snowflake.original import OriginalStorage
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.builders import CLICKS, ORDERS, event, place, rows
from tests.contracts.backfill import BackfillContract, UpgradeStorage
from tests.contracts.sink_case import claim, land

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
    for part in ('ADD COLUMN "PAYLOAD" VARIANT', 'ALTER COLUMN "ITEMS" DROP NOT NULL', 'RENAME COLUMN "TOTAL"'):
        assert any(part in statement for statement in orders.statements), part
    assert shown == migrate(grown.url, [*Part], BUILT_IN)
    assert migrate(grown.url, [*Part], BUILT_IN) == []


def test_whether_it_is_the_same_log_has_to_be_said_first(grown: OriginalStorage) -> None:
    """Or new events at the offsets of old rows would be taken for them, and be lost."""
    grown.upgrade()
    sink = SnowflakeStorage.sink(grown)
    with pytest.raises(ConfigurationError, match="is it the same log that they came from") as caught:
        claim(sink, place(CLICKS, 2), "of the new cluster")
    another = next(line for line in str(caught.value).splitlines() if "another log: " in line)
    grown.execute(another.partition("another log: ")[2])
    claimed = claim(sink, place(CLICKS, 2), "of the new cluster")
    assert claimed.incarnation == 2
    assert land(sink, rows(CLICKS, range(60), partition=2, incarnation=2), claimed) == Merged(60, 0)


def test_what_the_old_columns_would_have_rounded_lands_whole(grown: OriginalStorage) -> None:
    grown.upgrade()
    line = {"item_id": "1", "quantity": 1, "unit_price": Decimal("0.1234")}
    long = "u" * 200
    given = {0: event(ORDERS, "a", user_id=long, lines=[line], total=Decimal("0.1234"))}
    grown.sink().write(SinkBatch((rows(ORDERS, given, partition=2),), ()))
    (found,) = grown.ledger().recent(ORDERS, 1)
    assert (found["user_id"], found["total"]) == (long, Decimal("0.1234"))
