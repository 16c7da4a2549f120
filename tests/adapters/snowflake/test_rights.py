"""Who writes rows needs no right to make tables. The stand-in knows no rights: it is told to refuse."""

from __future__ import annotations

from contextlib import closing

import pytest

from flowguard.adapters.snowflake import Part, migrate
from flowguard.entrypoints.dev.snowflake import SnowflakeServer
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.builders import CATALOG, CLICKS, NOW, letter, rows
from tests.contracts.sink_case import claim, land
from tests.servers.snowflake import Faults, Snowflake

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
