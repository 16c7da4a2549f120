"""Older tables that do not look like those of the original system, and upgrades that were broken off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowguard.adapters.snowflake import Part, migrate
from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.domain.rows import Merged
from tests.adapters.snowflake.original import OriginalStorage
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.builders import CATALOG, CLICKS, place, rows
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
