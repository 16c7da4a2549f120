from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowguard.adapters.snowflake import SnowflakeDeadLetterQueue, SnowflakeEventSink, SnowflakeLedger
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.contracts.dead_letters import DeadLetterContract
from tests.contracts.durable import DurableDeadLetterContract, DurableSinkContract
from tests.contracts.ledger import LedgerContract
from tests.contracts.sink import SinkContract
from tests.servers.snowflake import Snowflake

pytestmark = pytest.mark.snowflake


@pytest.fixture(scope="module")
def url(snowflake: Snowflake) -> str:
    return snowflake.fresh_schema()


class OnSnowflake:
    @pytest.fixture
    def storage(self, url: str) -> Iterator[SnowflakeStorage]:
        storage = SnowflakeStorage(url)
        yield storage
        storage.close()


class TestSnowflakeEventSink(OnSnowflake, SinkContract, DurableSinkContract):
    adapter = SnowflakeEventSink


class TestSnowflakeLedger(OnSnowflake, LedgerContract):
    adapter = SnowflakeLedger


class TestSnowflakeDeadLetterQueue(OnSnowflake, DeadLetterContract, DurableDeadLetterContract):
    adapter = SnowflakeDeadLetterQueue
