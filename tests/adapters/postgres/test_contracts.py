from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowguard.adapters.postgres import PostgresDeadLetterQueue, PostgresEventSink, PostgresLedger
from tests.adapters.postgres.storage import PostgresStorage
from tests.contracts.dead_letters import DeadLetterContract
from tests.contracts.durable import DurableDeadLetterContract, DurableSinkContract
from tests.contracts.ledger import LedgerContract
from tests.contracts.sink import SinkContract
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


class TestPostgresEventSink(OnPostgres, SinkContract, DurableSinkContract):
    adapter = PostgresEventSink


class TestPostgresLedger(OnPostgres, LedgerContract):
    adapter = PostgresLedger


class TestPostgresDeadLetterQueue(OnPostgres, DeadLetterContract, DurableDeadLetterContract):
    adapter = PostgresDeadLetterQueue
