from __future__ import annotations

import pytest

from flowguard.adapters.kafka.source import KafkaEventSource
from tests.adapters.kafka.source_case import CONSUMER, OnKafka
from tests.contracts.source import SharedGroupContract, SourceContract

pytestmark = pytest.mark.kafka


class TestKafkaEventSource(OnKafka, SourceContract, SharedGroupContract):
    adapter = KafkaEventSource


class TestKafkaEventSourceWithConsumerProtocol(OnKafka, SourceContract, SharedGroupContract):
    adapter = KafkaEventSource
    options = CONSUMER
