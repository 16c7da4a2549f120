"""Who writes rows needs no right to make tables. The stand-in knows no rights: it is told to refuse."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from flowguard.adapters.snowflake import Part, migrate
from flowguard.domain.errors import ConfigurationError
from flowguard.entrypoints.dev.snowflake import SnowflakeServer
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.builders import CATALOG, CLICKS, NOW, letter, rows
from tests.contracts.sink_case import claim, land, position
from tests.servers.snowflake import Faults, Snowflake, connected, running_snowflake

pytestmark = pytest.mark.snowflake


def test_all_but_migrate_does_without_ddl(snowflake_server: SnowflakeServer) -> None:
    faults, snowflake = Faults(snowflake_server), Snowflake(snowflake_server.url)
    url = snowflake.fresh_schema()
    with closing(SnowflakeStorage(url)) as storage:
        refused = faults.set(
            "error", r"(?i)^\s*(CREATE(?! TEMPORARY)|ALTER|DROP)\b", errno="3001", message="Insufficient privileges"
        )
        try:
            assert migrate(url, [*Part], CATALOG) == []
            sink, queue = storage.sink(), storage.dead_letters()
            sink.check()
            land(sink, rows(CLICKS, range(3)), claim(sink))
            queue.put([letter(9)], NOW)
            assert storage.ledger().summary(CLICKS).rows == 3
            assert faults.fired(refused) == 0
        finally:
            faults.lift(refused)
    snowflake.drop_all()


@pytest.mark.parametrize(
    ("right", "table"),
    [
        ("INSERT", "FG_POSITIONS"),
        ("INSERT", "FG_INCARNATIONS"),
        ("INSERT", "FG_ABSORBED"),
        ("INSERT", '"CLICKS"'),
        ("UPDATE", "FG_POSITIONS"),
    ],
)
def test_a_check_names_the_right_that_lacks(faulty_url: str, faults: Faults, right: str, table: str) -> None:
    with closing(SnowflakeStorage(faulty_url)) as storage:
        sink, ledger = storage.sink(), storage.ledger()
        ours = claim(sink)
        land(sink, rows(CLICKS, range(3)), ours)
        before = position(ledger)
        refused = faults.set("error", rf"^{right} (INTO )?{table} ", errno="3001", message="Insufficient privileges")
        with pytest.raises(ConfigurationError) as caught:
            sink.check()
        assert str(caught.value).endswith(f"the role lacks {right} on {table}: GRANT {right} ON TABLE {table} TO it")
        assert len(str(caught.value).splitlines()) == 1
        faults.lift(refused)
        sink.check()
        assert (ledger.summary(CLICKS).rows, position(ledger)) == (3, before)


def test_rights_are_asked_once(faulty_url: str, faults: Faults) -> None:
    """It wakes the warehouse, and a gateway checks its sink at every probe."""
    with closing(SnowflakeStorage(faulty_url)) as storage:
        sink = storage.sink()
        sink.check()
        faults.reset_counts()
        sink.check()
        assert [one["text"] for one in faults.counted()["asked"] if re.match("INSERT|UPDATE", one["text"])] == []


def test_no_tables_are_made_whose_ids_would_be_compared_by_a_collation(tmp_path: Path) -> None:
    with running_snowflake(tmp_path, {"ddl_collation": "en-ci"}) as server:
        for dry_run in (True, False):
            with pytest.raises(ConfigurationError, match="DEFAULT_DDL_COLLATION is 'en-ci'") as caught:
                migrate(server.url, [*Part], CATALOG, dry_run=dry_run)
            assert len(str(caught.value).splitlines()) == 1
        with connected(server.url) as connection:
            made = connection.cursor().execute(
                "SELECT COUNT(*) FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_NAME = 'CLICKS'"
            )
            assert made is not None
            assert made.fetchone() == (0,)
