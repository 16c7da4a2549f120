from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowguard.adapters.kafka.dead_letters import KafkaDeadLetterQueue
from tests.adapters.kafka.letter_storage import KafkaDeadLetterStorage
from tests.contracts.dead_letters import DeadLetterContract
from tests.contracts.durable import DurableDeadLetterContract
from tests.servers.kafka import Kafka


@pytest.mark.kafka
class TestKafkaDeadLetterQueue(DeadLetterContract, DurableDeadLetterContract):
    adapter = KafkaDeadLetterQueue

    @pytest.fixture
    def storage(self, kafka: Kafka) -> Iterator[KafkaDeadLetterStorage]:
        storage = KafkaDeadLetterStorage(kafka.bootstrap)
        yield storage
        storage.close()
