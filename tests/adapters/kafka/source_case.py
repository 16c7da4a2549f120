"""What the tests of KafkaEventSource share: both group protocols, with short times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, by its docs
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.adapters.kafka.storage import KafkaLogStorage
from tests.contracts.log_case import LogCase
from tests.servers.kafka import Kafka

_QUICK = {
    "fetch.wait.max.ms": 20,
    # As often as the tests' patience has it: what was made, added or deleted is seen by this.
    "topic.metadata.refresh.interval.ms": 500,
}
CLASSIC = {**_QUICK, "heartbeat.interval.ms": 100, "session.timeout.ms": 1_500}
CONSUMER = {**_QUICK, "group.protocol": "consumer"}
_SETTINGS = {
    "consumer.heartbeat.interval.ms": "100",
    "consumer.session.timeout.ms": "1500",
    "consumer.assignment.interval.ms": "0",
}
_GROUPS = ("flowguard", "another group", "one", "two")


def quicken(bootstrap: str, groups: Sequence[str] = _GROUPS) -> None:
    """With the consumer protocol, it is the group that says how often its members tell that they live."""
    changes = [
        ConfigResource(
            ResourceType.GROUP,
            group,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in _SETTINGS.items()
            ],
        )
        for group in groups
    ]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.incremental_alter_configs(changes).values():
        done.result(10)


class KafkaCase(LogCase):
    """Every test with either protocol."""

    patience_s: ClassVar[float] = 20.0
    quiet_s: ClassVar[float] = 0.3

    @pytest.fixture(params=[CLASSIC, CONSUMER], ids=["classic", "consumer"])
    def options(self, request: pytest.FixtureRequest) -> Mapping[str, object]:
        return dict(request.param)

    @pytest.fixture
    def storage(self, kafka: Kafka, options: Mapping[str, object]) -> Iterator[KafkaLogStorage]:
        quicken(kafka.bootstrap)
        storage = KafkaLogStorage(kafka.url, options)
        yield storage
        storage.close()


class OnKafka:
    options: ClassVar[Mapping[str, object]] = CLASSIC
    patience_s: ClassVar[float] = 20.0
    quiet_s: ClassVar[float] = 0.3

    @pytest.fixture
    def storage(self, kafka: Kafka) -> Iterator[KafkaLogStorage]:
        quicken(kafka.bootstrap)
        storage = KafkaLogStorage(kafka.url, self.options)
        yield storage
        storage.close()
