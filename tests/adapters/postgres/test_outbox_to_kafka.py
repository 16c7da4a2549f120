"""From a real outbox into a real Kafka."""

from __future__ import annotations

import random
import threading
import uuid
from contextlib import closing
from typing import Any

import psycopg
import pytest
from confluent_kafka import admin as kafka_admin

from flowguard.adapters.kafka import KafkaEventLog, KafkaEventPublisher, KafkaOptions, TopicLayout
from flowguard.adapters.postgres import Part, PostgresOutbox, migrate
from flowguard.adapters.system import RecordingTelemetry, SystemClock
from flowguard.application.outbox_relay import OutboxPorts, OutboxRelay
from flowguard.domain.errors import ConfigurationError, RetryPolicy
from flowguard.domain.ingestion import TopicPartition
from tests.servers.kafka import Kafka

pytestmark = [pytest.mark.postgres, pytest.mark.kafka, pytest.mark.slow]


@pytest.mark.parametrize("refused_by", ["client", "broker"])
def test_a_message_that_is_too_large_stops_the_line_and_goes_when_that_is_mended(
    postgres_url: str, kafka: Kafka, refused_by: str
) -> None:
    migrate(postgres_url, [Part.ORDERS])
    topic = f"raw.outbox-{uuid.uuid4().hex}"
    configs = {"max.message.bytes": "5000"} if refused_by == "broker" else {}
    log = KafkaEventLog(KafkaOptions.of(kafka.url, {}), layouts={topic: TopicLayout(configs=configs)}, group="g")
    log.ensure({topic: 1})
    with closing(psycopg.connect(postgres_url, autocommit=True)) as connection:
        for name, size in (("a", 10), ("b", 10), ("large", 20_000), ("c", 10)):
            connection.execute(
                "INSERT INTO fg_outbox (event_id, topic, key, value) VALUES (%s, %s, 'k', %s)",
                [name, topic, f"{name} {random.Random(1).randbytes(size).hex()}".encode()],
            )

    def once(**options: str) -> None:
        given = {name.replace("_", "."): value for name, value in options.items()}
        relay = OutboxRelay(
            OutboxPorts(
                PostgresOutbox(postgres_url),
                KafkaEventPublisher(KafkaOptions.of(kafka.url, given)),
                SystemClock(),
                RecordingTelemetry(),
            ),
            retry=RetryPolicy(),
            jitter=lambda: 1.0,
        )
        relay.run(threading.Event(), once=True)

    def logged() -> list[str]:
        found: list[bytes] = []
        while runs := log.read(TopicPartition(topic, 0), len(found), 1_000):
            found += [value for run in runs for value in run.values]
        return list(dict.fromkeys(value.decode().split()[0] for value in found))

    for _ in range(2):
        with pytest.raises(
            ConfigurationError, match=r"refuses message 3 of the outbox \(event large, .*MESSAGE_MAX_BYTES"
        ):
            once(**({"message_max_bytes": "5000"} if refused_by == "client" else {}))
        assert logged() == ["a", "b"]
    if refused_by == "broker":
        _allow(kafka, topic, 100_000)
    once()
    assert logged() == ["a", "b", "large", "c"]
    log.close()


def _allow(kafka: Kafka, topic: str, size: int) -> None:
    known: Any = kafka_admin  # its names are there, and not declared
    wanted = known.ConfigEntry("max.message.bytes", str(size), incremental_operation=known.AlterConfigOpType.SET)
    resource = known.ConfigResource(known.ResourceType.TOPIC, topic, incremental_configs=[wanted])
    client = known.AdminClient({"bootstrap.servers": kafka.bootstrap})
    for done in client.incremental_alter_configs([resource]).values():
        done.result(30)
