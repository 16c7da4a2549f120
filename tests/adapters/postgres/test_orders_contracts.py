from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowguard.adapters.postgres import PostgresOrderRepository, PostgresOutbox
from tests.adapters.postgres.storage import PostgresStorage
from tests.contracts.orders import OrderContract
from tests.contracts.outbox import OutboxContract
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    return postgres.fresh_database()


class OnPostgres:
    @pytest.fixture
    def storage(self, url: str) -> Iterator[PostgresStorage]:
        storage = PostgresStorage(url)
        yield storage
        storage.close()


class TestPostgresOrderRepository(OnPostgres, OrderContract):
    adapter = PostgresOrderRepository


class TestPostgresOutbox(OnPostgres, OutboxContract):
    adapter = PostgresOutbox
