"""Tables from before FlowGuard become bronze tables in place: what the contract of the backfill does not show."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from flowguard.adapters.postgres import Part, migrate
from flowguard.domain.catalog import BUILT_IN
from flowguard.domain.errors import ConfigurationError
from flowguard.domain.ingestion import Assignment
from flowguard.domain.rows import Merged, SinkBatch
from tests.adapters.postgres.original import OriginalStorage
from tests.builders import CLICKS, ORDERS, event, place, rows
from tests.contracts.sink_case import land


@pytest.fixture
def grown(postgres_url: str) -> Iterator[OriginalStorage]:
    storage = OriginalStorage(postgres_url, grown=True)
    yield storage
    storage.close()


pytestmark = pytest.mark.postgres


def test_the_statements_are_shown_beforehand(grown: OriginalStorage) -> None:
    shown = migrate(grown.url, [*Part], BUILT_IN, dry_run=True)
    assert "event_id" not in grown.rows("orders")[0]
    (orders,) = [step for step in shown if step.part == "table orders"]
    for part in ('ADD COLUMN "payload" JSON', 'ALTER COLUMN "items" DROP NOT NULL', "(producer_service, event_id)",
                 'ALTER COLUMN "total" TYPE NUMERIC', 'ALTER COLUMN "schema_version" TYPE BIGINT'):  # fmt: skip
        assert any(part in statement for statement in orders.statements), part
    assert not any("UNIQUE (ingestion_id)" in statement for statement in orders.statements)  # it has that
    assert shown == migrate(grown.url, [*Part], BUILT_IN)


def test_what_the_old_columns_would_have_cut_or_rounded_lands_whole(grown: OriginalStorage) -> None:
    grown.upgrade()
    line = {"item_id": "1", "quantity": 1, "unit_price": Decimal("0.1234")}
    long = "u" * 200
    given = {0: event(ORDERS, "a", user_id=long, lines=[line], total=Decimal("0.1234"))}
    grown.sink().write(SinkBatch((rows(ORDERS, given, partition=2),), ()))
    (found,) = grown.ledger().recent(ORDERS, 1)
    assert (found["user_id"], found["total"]) == (long, Decimal("0.1234"))


def test_an_ingestion_id_that_comes_twice_is_named(grown: OriginalStorage) -> None:
    grown.execute("ALTER TABLE clicks DROP CONSTRAINT clicks_ingestion_id_key")
    grown.execute("UPDATE clicks SET ingestion_id = 'raw.clicks.v1-0-20' WHERE id IN (100, 101)")
    before = grown.rows("clicks")
    with pytest.raises(ConfigurationError, match=r"could not create unique index .*mend these rows, and migrate again"):
        grown.upgrade()
    assert grown.rows("clicks") == before


def test_a_key_that_our_rows_cannot_have_is_told(grown: OriginalStorage) -> None:
    grown.execute("ALTER TABLE clicks ALTER COLUMN id DROP DEFAULT")
    with pytest.raises(ConfigurationError, match='"id" is in a primary key: our rows have no value for it'):
        grown.upgrade()


def test_a_view_that_is_in_the_way_is_told(grown: OriginalStorage) -> None:
    grown.execute("CREATE VIEW totals AS SELECT total FROM orders")
    with pytest.raises(ConfigurationError, match="cannot alter type of a column used by a view"):
        grown.upgrade()


def test_a_new_log_begins_with_a_second_incarnation_when_the_first_is_written_down(grown: OriginalStorage) -> None:
    """Or the old rows would be taken for those at the same offsets of the new topic."""
    grown.upgrade()
    grown.backfill().run(CLICKS, lambda filled: None)
    grown.execute(
        "INSERT INTO fg_incarnations (topic, incarnation, topic_id) VALUES ('raw.clicks.v1', 1, 'before FlowGuard')"
    )
    sink, there = grown.sink(), place(CLICKS, 2)
    (claimed,) = sink.claim("consumer", [Assignment(there, "of the new cluster")])
    assert claimed.incarnation == 2
    assert land(sink, rows(CLICKS, range(60), partition=2, incarnation=2), claimed) == Merged(60, 0)
    assert len(grown.ledger().offsets(CLICKS, there, 1).landed) == 50
