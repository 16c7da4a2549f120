from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.kafka.storage import KafkaLogStorage
from tests.contracts.durable import DurableLogContract
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka


class TestDurableKafkaLog(DurableLogContract):
    @pytest.fixture
    def storage(self, kafka: Kafka) -> Iterator[KafkaLogStorage]:
        # A member that was killed stays in its group until its session is over: the next test waits for that.
        storage = KafkaLogStorage(kafka.url, {"session.timeout.ms": 6_000})
        yield storage
        storage.close()
