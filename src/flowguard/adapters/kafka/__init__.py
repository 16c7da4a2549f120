"""Apache Kafka as the log, for publishing, consuming and dead letters."""

from flowguard.adapters.kafka.dead_letters import DEAD_LETTER_CONFIGS, KafkaDeadLetterQueue, dead_letter_topic
from flowguard.adapters.kafka.event_log import KafkaEventLog, TopicLayout
from flowguard.adapters.kafka.options import KafkaOptions
from flowguard.adapters.kafka.publisher import KafkaEventPublisher
from flowguard.adapters.kafka.source import KafkaEventSource

__all__ = [
    "DEAD_LETTER_CONFIGS",
    "KafkaDeadLetterQueue",
    "KafkaEventLog",
    "KafkaEventPublisher",
    "KafkaEventSource",
    "KafkaOptions",
    "TopicLayout",
    "dead_letter_topic",
]
