from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from confluent_kafka import Uuid
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from flowguard.adapters.kafka import KafkaEventLog, KafkaOptions, TopicLayout
from flowguard.adapters.kafka.source_topics import SourceTopics
from flowguard.adapters.kafka.topics import KafkaTopics
from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.domain.ingestion import TopicPartition
from tests.adapters.kafka.storage import KafkaLogStorage
from tests.contracts.log_case import P0, P1, TOPIC, publish, things
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka


@pytest.fixture
def storage(kafka: Kafka) -> Iterator[KafkaLogStorage]:
    storage = KafkaLogStorage(kafka.url)
    yield storage
    storage.close()


@pytest.fixture
def topics(storage: KafkaLogStorage) -> KafkaTopics:
    return KafkaTopics(storage.options)


def settings_of(storage: KafkaLogStorage, topic: str) -> dict[str, str]:
    admin = AdminClient({"bootstrap.servers": storage.options.bootstrap})
    (asked,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return {name: entry.value for name, entry in asked.result(10).items()}


def test_a_topic_is_made_once_and_known_by_its_id(topics: KafkaTopics) -> None:
    assert topics.topic_id(TOPIC) is None
    assert topics.create(TOPIC, 2)
    assert not topics.create(TOPIC, 5)
    facts = topics.look(TOPIC)
    assert facts is not None
    assert facts.partitions == (P0, P1)
    assert facts.topic_id == topics.topic_id(TOPIC)
    topics.close()
    assert facts == topics.look(TOPIC), "it connects again"


def test_bounds_and_commits_of_what_is_not_there_are_left_out(topics: KafkaTopics) -> None:
    topics.create(TOPIC, 1)
    nowhere = TopicPartition("raw.nowhere.v1", 0)
    for some in ([P0, P1], [P0, nowhere]):
        assert topics.ends(some) == topics.earliest(some) == {P0: 0}
    assert topics.ends([nowhere]) == {}
    assert topics.committed("nobody", [P0, nowhere]) == {}
    assert topics.ends([]) == topics.committed("nobody", []) == {}


def test_asking_for_a_topic_that_is_not_there_keeps_nothing(storage: KafkaLogStorage) -> None:
    """A source asks with every fetch. What goes in circles stays until the collector comes: a batch each time."""
    topics = SourceTopics(storage.options, [TOPIC])
    assert topics.ids() == {TOPIC: None}
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            topics.ids()
        assert gc.collect() < 20
    finally:
        gc.enable()
    topics.close()


def test_an_answer_is_forgotten_when_it_was_read(storage: KafkaLogStorage, topics: KafkaTopics) -> None:
    """The client keeps the topic id of each answer, which a source would pay for with half a gigabyte a day."""
    topics.create(TOPIC, 1)
    source = SourceTopics(storage.options, [TOPIC])
    for ask in (source.ids, lambda: topics.topic_id(TOPIC)):
        ask()
        gc.collect()
        before = sum(isinstance(one, Uuid) for one in gc.get_objects())
        assert len({str(ask()) for _ in range(20)}) == 1
        gc.collect()
        assert sum(isinstance(one, Uuid) for one in gc.get_objects()) == before
    source.close()


def test_the_end_is_behind_what_was_aborted(storage: KafkaLogStorage, topics: KafkaTopics) -> None:
    topics.create(TOPIC, 1)
    publish(storage, things("a"))
    storage.skip_offsets(P0, 4)
    assert topics.ends([P0]) == {P0: 5}


@pytest.mark.parametrize(
    ("layout", "name", "value"),
    [
        (TopicLayout(retention_s=3_600), "retention.ms", "3600000"),
        (TopicLayout(retention_s=-1), "retention.ms", "-1"),
        (TopicLayout(), "retention.ms", "604800000"),
        (TopicLayout(configs={"min.insync.replicas": "1", "segment.bytes": "9000000"}), "segment.bytes", "9000000"),
    ],
)
def test_a_layout_is_what_a_topic_is_made_with(
    storage: KafkaLogStorage, layout: TopicLayout, name: str, value: str
) -> None:
    log = KafkaEventLog(storage.options, layouts={TOPIC: layout})
    log.ensure({TOPIC: 1})
    log.close()
    assert settings_of(storage, TOPIC)[name] == value


@pytest.mark.parametrize(
    ("topic", "layout", "said"),
    [
        (TOPIC, TopicLayout(replication=9), "fewer brokers than replicas"),
        (TOPIC, TopicLayout(configs={"no.such.setting": "1"}), "no such setting"),
        ("raw.not a name", TopicLayout(), "no such topic name"),
    ],
)
def test_a_topic_that_cannot_be_made_says_why(
    storage: KafkaLogStorage, topic: str, layout: TopicLayout, said: str
) -> None:
    log = KafkaEventLog(storage.options, layout=layout)
    with pytest.raises(ConfigurationError, match=said):
        log.ensure({topic: 1})
    log.close()


def test_where_nobody_listens_the_reason_is_told() -> None:
    topics = KafkaTopics(KafkaOptions.of("kafka://127.0.0.1:9"), timeout_s=0.5)
    with pytest.raises(TransientError, match=r"cannot be reached.*Connection refused"):
        topics.look(TOPIC)


def test_who_is_refused_is_told_how_to_mend_it_at_the_start_and_waits_later_on(kafka: Kafka) -> None:
    """The broker speaks no SASL."""
    given = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "u",
        "sasl.password": "p",
    }
    options = KafkaOptions.of(kafka.url, given)
    for starting, kind in ((True, ConfigurationError), (False, TransientError)):
        with pytest.raises(kind, match="FLOWGUARD_KAFKA__SASL_MECHANISM"):
            KafkaTopics(options, timeout_s=0.5, starting=starting).look(TOPIC)
