from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowguard.adapters.kafka import KafkaEventPublisher
from tests.adapters.kafka.storage import KafkaLogStorage
from tests.contracts.publisher import PublisherContract
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka


class TestKafkaEventPublisher(PublisherContract):
    adapter = KafkaEventPublisher

    @pytest.fixture
    def storage(self, kafka: Kafka) -> Iterator[KafkaLogStorage]:
        storage = KafkaLogStorage(kafka.url)
        yield storage
        storage.close()
