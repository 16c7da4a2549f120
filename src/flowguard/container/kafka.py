"""Makes the adapters of kafka://, and the topics that the catalog wants."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from flowguard.container.choosing import scheme_in_force
from flowguard.domain.catalog import Catalog
from flowguard.domain.errors import ConfigurationError
from flowguard.settings import Settings

if TYPE_CHECKING:
    from flowguard.adapters.kafka import KafkaOptions
    from flowguard.ports.dead_letters import DeadLetterQueue
    from flowguard.ports.event_log import EventLog
    from flowguard.ports.publisher import EventPublisher
    from flowguard.ports.source import EventSource


def options(url: str, settings: Settings) -> KafkaOptions:
    """Raises ConfigurationError where the extra is not installed, or an option makes no sense."""
    try:
        from flowguard.adapters.kafka import KafkaOptions
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise ConfigurationError("kafka:// needs the extra `kafka`: pip install 'flowguard[kafka]'") from error
    return KafkaOptions.of(url, settings.kafka)


def publisher(url: str, settings: Settings) -> EventPublisher:
    made_of = options(url, settings)
    from flowguard.adapters.kafka import KafkaEventPublisher

    return KafkaEventPublisher(made_of)


def event_log(url: str, settings: Settings, catalog: Catalog) -> EventLog:
    made_of = options(url, settings)
    from flowguard.adapters.kafka import KafkaEventLog, TopicLayout

    layouts = {one.topic: TopicLayout(one.replication or -1, one.retention_s) for one in catalog}
    return KafkaEventLog(made_of, layouts=layouts, group=settings.group)


def source(url: str, settings: Settings, topics: Mapping[str, int]) -> EventSource:
    made_of = options(url, settings)
    from flowguard.adapters.kafka import KafkaEventSource

    return KafkaEventSource(made_of, settings.group, tuple(topics), fetch_bytes=settings.fetch_bytes)


def dead_letters(url: str, settings: Settings, catalog: Catalog) -> DeadLetterQueue:
    made_of = options(url, settings)
    from flowguard.adapters.kafka import KafkaDeadLetterQueue

    topics = [one.topic for one in catalog]
    return KafkaDeadLetterQueue(made_of, topics, settings.group, spring=settings.spring_headers)


def make_dead_letter_topics(settings: Settings, catalog: Catalog, *, dry_run: bool = False) -> list[str]:
    """Make the topics of the dead letters where they rest on Kafka, or say which are missing. One line for each."""
    url = settings.effective_dead_letter_url
    if scheme_in_force(url, "dead_letter_url") != "kafka":
        return []
    made_of = options(url, settings)
    from flowguard.adapters.kafka import DEAD_LETTER_CONFIGS, KafkaEventLog, TopicLayout, dead_letter_topic

    layouts = {
        dead_letter_topic(one.topic): TopicLayout(one.replication or -1, configs=DEAD_LETTER_CONFIGS) for one in catalog
    }
    with closing(KafkaEventLog(made_of, layouts=layouts, group=settings.group)) as log:
        missing = [topic for topic in layouts if log.describe(topic, settings.group) is None]
        if not dry_run:
            log.ensure(dict.fromkeys(missing, 1))
    return [f"{url}: topic {topic}" for topic in missing]
