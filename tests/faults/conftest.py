"""For each fault test a deployment of FlowGuard: on three brokers, or around a warehouse's server of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowguard.entrypoints.dev.kafka import KafkaCluster
from flowguard.entrypoints.dev.postgres import PostgresServer
from flowguard.entrypoints.dev.snowflake import SnowflakeServer
from tests.faults.brokers import Brokers
from tests.faults.services import Deployment
from tests.faults.warehouses import PostgresWarehouse, SnowflakeWarehouse
from tests.servers.postgres import QUICK, Postgres, running_postgres
from tests.servers.snowflake import WITH_FAULTS, Faults, Snowflake, running_snowflake

AT_ONCE = {"batch__max_age_s": "0.02"}
"""Batches are written as soon as they can be, so that a write is under way most of the time."""
ON_POSTGRES = AT_ONCE | {
    # Noticed, and tried again, soon. The timeout is long enough for a busy machine.
    "database_timeout_s": "3",
    "retry__cap_s": "0.5",
    "drain_s": "5",
}

ON_SNOWFLAKE = ON_POSTGRES | {"snowflake_query_timeout_s": "5"}
ABANDONED_SOON = {"abandoned_s": "6"}
"""Snowflake takes five minutes to give up the transaction of somebody who died, while others wait for its lock."""


@pytest.fixture
def brokers(kafka_cluster3: KafkaCluster) -> Brokers:
    return Brokers.with_no_topics(kafka_cluster3)


@pytest.fixture
def deployment(kafka_cluster3: KafkaCluster, brokers: Brokers, tmp_path: Path) -> Iterator[Deployment]:
    """Nothing runs yet but the cluster: the topics are there, and the tables."""
    settings = AT_ONCE | {"log_url": kafka_cluster3.url, "group": tmp_path.name}  # another group for each test
    with Deployment(tmp_path, None, **settings) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def mortal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Whatever a test did to it, `warehouse` sets it right again."""
    with running_postgres(tmp_path_factory.mktemp("mortal"), QUICK) as server:
        yield server


@pytest.fixture
def warehouse(mortal_server: PostgresServer) -> Iterator[PostgresWarehouse]:
    """A database of the test's own on a server that runs."""
    mortal_server.start()
    databases = Postgres(mortal_server.url)
    yield PostgresWarehouse(databases.fresh_database())
    mortal_server.start()
    databases.drop_all()


@pytest.fixture
def pipeline(tmp_path: Path, warehouse: PostgresWarehouse) -> Iterator[Deployment]:
    """The embedded log, and PostgreSQL: the tables are there, and nothing runs yet."""
    with Deployment(tmp_path, warehouse, **ON_POSTGRES) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def mortal_snowflake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnowflakeServer]:
    """Whatever a test did to it, `snow` sets it right again."""
    with running_snowflake(tmp_path_factory.mktemp("mortal-snowflake"), WITH_FAULTS | ABANDONED_SOON) as server:
        yield server


@pytest.fixture
def snow(mortal_snowflake: SnowflakeServer) -> Iterator[SnowflakeWarehouse]:
    """A schema of the test's own on a server that runs."""
    mortal_snowflake.start()
    schemas = Snowflake(mortal_snowflake.url)
    yield SnowflakeWarehouse(schemas.fresh_schema())
    mortal_snowflake.resume_all()
    if mortal_snowflake.pid is not None:  # while it refuses logins it is not ready
        Faults(mortal_snowflake).lift()
    mortal_snowflake.start()
    schemas.drop_all()


@pytest.fixture
def faults(mortal_snowflake: SnowflakeServer, snow: SnowflakeWarehouse) -> Faults:
    """None is set yet; a server that is started again knows of none that was."""
    return Faults(mortal_snowflake)


@pytest.fixture
def snowpipeline(tmp_path: Path, snow: SnowflakeWarehouse) -> Iterator[Deployment]:
    """The embedded log, and Snowflake: the tables are there, and nothing runs yet."""
    with Deployment(tmp_path, snow, **ON_SNOWFLAKE) as deployment:
        yield deployment
