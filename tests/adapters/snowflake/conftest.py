"""A migrated schema; and the stand-in, also where an account is given, for tests that set faults or count requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowguard.entrypoints.dev.snowflake import SnowflakeServer
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.servers.snowflake import Faults, Snowflake


@pytest.fixture
def faults(snowflake_server: SnowflakeServer) -> Iterator[Faults]:
    """Those that are still set after the test are lifted."""
    faults = Faults(snowflake_server)
    yield faults
    faults.lift()


@pytest.fixture
def faulty_url(snowflake_server: SnowflakeServer, faults: Faults) -> Iterator[str]:
    """A new, empty schema, where `faults` are in force."""
    schemas = Snowflake(snowflake_server.url)
    yield schemas.fresh_schema()
    faults.lift()
    schemas.drop_all()


@pytest.fixture
def storage(snowflake_url: str) -> Iterator[SnowflakeStorage]:
    """A new schema, migrated."""
    storage = SnowflakeStorage(snowflake_url)
    yield storage
    storage.close()
