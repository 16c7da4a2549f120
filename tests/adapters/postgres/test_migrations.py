"""Tables are made and brought up to date once, by whoever comes first, and never half."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from pydantic import BaseModel, create_model

from flowguard.adapters.postgres import Part, PostgresEventSink, PostgresLedger, migrate
from flowguard.domain.catalog import EventType
from flowguard.domain.errors import ConfigurationError, TransientError
from tests.builders import CATALOG, CLICKS, rows
from tests.contracts.sink_case import batch

pytestmark = pytest.mark.postgres


def run(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def tables(url: str) -> set[object]:
    return {name for (name,) in run(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


def test_everything_is_made_once(postgres_url: str) -> None:
    assert [str(one) for one in migrate(postgres_url, [*Part], CATALOG)] == [
        "warehouse 1: positions",
        "dead_letters 1: dead letters",
        "orders 1: orders",
        "table clicks 1: create",
        "table clicks_dlq 1: create",
        "table orders 1: create",
        "table orders_dlq 1: create",
        "table measurements 1: create",
        "table measurements_dlq 1: create",
    ]
    assert migrate(postgres_url, [*Part], CATALOG) == []
    assert {"clicks", "clicks_dlq", "fg_positions", "fg_migrations"} <= tables(postgres_url)


def test_a_dry_run_shows_the_statements_and_changes_nothing(postgres_url: str) -> None:
    shown = migrate(postgres_url, [*Part], CATALOG, dry_run=True)
    assert tables(postgres_url) == set()
    assert any(one.startswith("CREATE TABLE clicks") for step in shown for one in step.statements)
    assert shown == migrate(postgres_url, [*Part], CATALOG)


def test_those_that_come_at_once_wait_for_one_another(postgres_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        counts = sorted(pool.map(lambda _: len(migrate(postgres_url, [*Part], CATALOG)), range(4)))
    assert counts == [0, 0, 0, 9]


def test_a_model_that_has_grown_gets_its_columns_and_keeps_its_rows(postgres_url: str) -> None:
    migrate(postgres_url, [*Part], CATALOG)
    sink = PostgresEventSink(postgres_url, CATALOG)
    sink.write(batch(rows(CLICKS, range(3))))
    grown = EventType("clicks", create_model("Grown", __base__=CLICKS.model, colour=(str | None, None)), key="user_id")
    (step,) = migrate(postgres_url, [*Part], [grown])
    assert (str(step), step.statements) == (
        "table clicks 2: add columns",
        ('ALTER TABLE "clicks" ADD COLUMN "colour" TEXT',),
    )
    assert migrate(postgres_url, [*Part], [grown]) == []
    ledger = PostgresLedger(postgres_url)
    assert [row["colour"] for row in ledger.recent(grown, 10)] == [None] * 3
    sink.close()
    ledger.close()


def test_a_migration_that_was_changed_afterwards_is_refused(postgres_url: str) -> None:
    migrate(postgres_url, [*Part], CATALOG)
    run(postgres_url, "UPDATE fg_migrations SET checksum = 'other' WHERE part = 'warehouse'")
    with pytest.raises(ConfigurationError, match="migration warehouse 1: positions was applied with other text"):
        migrate(postgres_url, [*Part], CATALOG)


def test_a_newer_flowguard_was_here(postgres_url: str) -> None:
    migrate(postgres_url, [*Part], CATALOG)
    run(postgres_url, "INSERT INTO fg_migrations VALUES ('warehouse', 99, 'later', 'x')")
    with pytest.raises(ConfigurationError, match="migrated to 99 by a newer FlowGuard"):
        migrate(postgres_url, [*Part], CATALOG)


class Other(BaseModel):
    user_id: int


def test_a_field_that_became_another_type_is_refused_and_nothing_is_changed(postgres_url: str) -> None:
    migrate(postgres_url, [Part.WAREHOUSE], [CLICKS])
    before = run(postgres_url, "SELECT count(*) FROM fg_migrations")
    with pytest.raises(ConfigurationError, match="column user_id of table clicks is text, and the model of clicks now"):
        migrate(postgres_url, [*Part], [EventType("clicks", Other, key="user_id")])
    assert run(postgres_url, "SELECT count(*) FROM fg_migrations") == before
    assert "fg_dead_letters" not in tables(postgres_url)


def test_a_standby_is_told_to_be_one(postgres_url: str) -> None:
    name = postgres_url.rsplit("/", 1)[1]
    run(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(TransientError, match="it is read-only; is this a standby"):
        migrate(postgres_url, [*Part], CATALOG)


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("postgresql://127.0.0.1:1/shop", TransientError, "it cannot be reached"),
        ("postgresql://127.0.0.1", ConfigurationError, "names no PostgreSQL database"),
        ("mysql://127.0.0.1/shop", ConfigurationError, "names no PostgreSQL database"),
    ],
)
def test_a_url_that_leads_nowhere_is_told_without_its_password(url: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        migrate(url.replace("://", "://user:hunter2@"), [*Part], CATALOG)
    assert "hunter2" not in str(caught.value)


def test_a_database_that_is_not_there(postgres_url: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no such database; create it"):
        migrate(postgres_url + "_none", [*Part], CATALOG)
