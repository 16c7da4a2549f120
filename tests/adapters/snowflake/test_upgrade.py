"""Older tables that do not look like those of the original system, and upgrades that were broken off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from flowguard.adapters.snowflake import Part, migrate
from flowguard.adapters.snowflake.database import Session
from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.domain.rows import Merged
from tests.adapters.snowflake.original import OriginalStorage
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.builders import CATALOG, CLICKS, MEASUREMENTS, place, rows
from tests.contracts.sink_case import claim, land
from tests.servers.snowflake import Faults

pytestmark = pytest.mark.snowflake


@pytest.fixture
def grown(snowflake_url: str) -> Iterator[OriginalStorage]:
    storage = OriginalStorage(snowflake_url, grown=True)
    yield storage
    storage.close()


@pytest.mark.parametrize(
    "older",
    [
        pytest.param("SOURCE_PARTITION = ID % 4, SOURCE_OFFSET = FLOOR(ID / 4)", id="places without an incarnation"),
        pytest.param("SOURCE_TOPIC = NULL", id="an ingestion id and nothing else"),
    ],
)
def test_what_is_there_lands_no_second_time_before_it_is_filled(grown: OriginalStorage, older: str) -> None:
    grown.upgrade()
    grown.execute(f"UPDATE CLICKS SET {older} WHERE INGESTION_ID IS NOT NULL")
    sink, there = grown.sink(), place(CLICKS, 2)
    assert land(sink, rows(CLICKS, range(1, 61), partition=2), claim(sink, there)) == Merged(10, 50)
    assert not grown.ledger().doubled(CLICKS)


def test_a_row_that_has_only_an_ingestion_id_may_be_of_another_log(grown: OriginalStorage) -> None:
    grown.upgrade()
    grown.execute("UPDATE CLICKS SET SOURCE_TOPIC = NULL")
    with pytest.raises(ConfigurationError, match="is it the same log that they came from"):
        claim(SnowflakeStorage.sink(grown), place(CLICKS, 2))


def test_rows_from_before_are_known_as_such_after_an_upgrade_that_was_broken_off(
    faulty_url: str, faults: Faults
) -> None:
    """Or new events of another log would be taken for them, and be lost."""
    grown = OriginalStorage(faulty_url, grown=True)
    migrate(faulty_url, [*Part])
    broken = faults.set("error", "INSERT INTO FG_MIGRATIONS", errno="000625")
    with pytest.raises(TransientError):
        migrate(faulty_url, [Part.WAREHOUSE], [CLICKS])
    assert faults.fired(broken)
    faults.lift(broken)
    grown.upgrade()
    with pytest.raises(ConfigurationError, match="is it the same log that they came from"):
        claim(SnowflakeStorage.sink(grown), place(CLICKS, 2))
    grown.close()


def test_what_is_written_to_an_old_column_after_the_copy_is_not_dropped_with_it(
    snowflake_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in would copy it, too, when it runs the open transaction again: so here nothing is copied at first."""
    change = Session.change

    def nothing_there_yet(session: Session, sql: str, *binds: object) -> int:
        return change(session, f"{sql} AND FALSE" if sql.startswith('UPDATE "MEASUREMENTS"') else sql, *binds)

    with closing(SnowflakeStorage(snowflake_url)) as storage:
        sink = storage.sink()
        land(sink, rows(MEASUREMENTS, range(2)), claim(sink, place(MEASUREMENTS)))
        storage.drop_column("measurements", "price")
        storage.execute('ALTER TABLE "MEASUREMENTS" ADD COLUMN "PRICE" NUMBER(10, 2)')
        storage.execute('UPDATE "MEASUREMENTS" SET PRICE = 7')
        with monkeypatch.context() as patched:
            patched.setattr(Session, "change", nothing_there_yet)
            with pytest.raises(ConfigurationError, match=r"somebody has written 2 rows .* migrate again") as caught:
                storage.migrate(MEASUREMENTS)
        assert len(str(caught.value).splitlines()) == 1
        storage.migrate(MEASUREMENTS)
        assert storage.execute('SELECT COUNT(*), SUM(PRICE) FROM "MEASUREMENTS"') == [(2, 14)]


def test_a_migration_that_was_broken_off_is_carried_through_the_next_time(faulty_url: str, faults: Faults) -> None:
    for statement in ("CREATE TABLE .*FG_ABSORBED", "INSERT INTO FG_MIGRATIONS"):
        broken = faults.set("error", statement, errno="000625")
        with pytest.raises(TransientError):
            migrate(faulty_url, [*Part], CATALOG)
        assert faults.fired(broken)
        faults.lift(broken)
    assert migrate(faulty_url, [*Part], CATALOG)
    storage = SnowflakeStorage(faulty_url)
    assert len(storage.execute("SELECT * FROM FG_POSITIONS")) == 1
    sink = storage.sink()
    assert land(sink, rows(CLICKS, range(3)), claim(sink)) == Merged(3, 0)
    storage.close()
