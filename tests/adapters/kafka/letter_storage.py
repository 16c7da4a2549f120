"""Fresh dead-letter topics for a test, and what befalls them behind the backs of their adapters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from flowguard.adapters.kafka.dead_letters import DEAD_LETTER_CONFIGS, KafkaDeadLetterQueue, dead_letter_topic
from flowguard.adapters.kafka.errors import MISSING
from flowguard.adapters.kafka.options import KafkaOptions
from flowguard.adapters.kafka.topics import KafkaTopics
from tests.builders import CLICKS, ORDERS

TOPICS = (CLICKS.topic, ORDERS.topic)
CLICKS_DLQ = dead_letter_topic(CLICKS.topic)


class KafkaDeadLetterStorage:
    """Dead-letter topics of the built-in events, empty at first. `close` lets go of every queue, and removes them."""

    def __init__(self, bootstrap: str, topics: Iterable[str] = TOPICS) -> None:
        self.bootstrap = bootstrap
        self.topics = tuple(topics)
        self._open()
        for topic in self.topics:
            self.delete(topic)
            self.make(topic)

    def __reduce__(self) -> tuple[object, ...]:
        """Travels without its queues, and makes nothing where it arrives."""
        return _arrived, (self.bootstrap, self.topics)

    @property
    def options(self) -> KafkaOptions:
        return KafkaOptions.of(f"kafka://{self.bootstrap}")

    def dead_letters(self, *, spring: bool = False, timeout_s: float = 30.0) -> KafkaDeadLetterQueue:
        queue = KafkaDeadLetterQueue(self.options, self.topics, "flowguard", spring=spring, timeout_s=timeout_s)
        self._queues.append(queue)
        return queue

    def close(self) -> None:
        for queue in self._queues:
            queue.close()
        for topic in self.topics:
            self.delete(topic)

    # -- what befalls them -------------------------------------------------------------------------------------------

    def make(self, topic: str, partitions: int = 1, configs: Mapping[str, str] | None = None) -> None:
        cluster = KafkaTopics(self.options)
        assert cluster.create(dead_letter_topic(topic), partitions, configs={**DEAD_LETTER_CONFIGS, **(configs or {})})
        cluster.close()

    def delete(self, topic: str) -> None:
        cluster = KafkaTopics(self.options)
        name = dead_letter_topic(topic)
        while cluster.look(name) is not None:
            try:
                self._admin.delete_topics([name])[name].result(10)
            except KafkaException as error:
                if error.args[0].code() not in MISSING:
                    raise
        cluster.close()

    def expire(self, topic: str, before: int, partition: int = 0) -> None:
        """Remove the records below the offset, as retention does."""
        place = TopicPartition(dead_letter_topic(topic), partition, before)
        for deleted in self._admin.delete_records([place]).values():
            deleted.result(10)

    def append(
        self,
        topic: str,
        headers: Sequence[tuple[str, bytes | None]],
        *,
        key: bytes | None = b"k",
        value: bytes | None = b"v",
        partition: int = 0,
        timestamp_ms: int = 0,
    ) -> None:
        """Put a record there as another program does."""
        producer = Producer({"bootstrap.servers": self.bootstrap})
        errors: list[object] = []
        producer.produce(
            dead_letter_topic(topic), value, key, partition,
            headers=list(headers), timestamp=timestamp_ms, on_delivery=lambda error, _: errors.append(error),
        )  # fmt: skip
        producer.flush(10)
        assert errors == [None]

    def _open(self) -> None:
        self._queues: list[KafkaDeadLetterQueue] = []
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap})


def _arrived(bootstrap: str, topics: tuple[str, ...]) -> KafkaDeadLetterStorage:
    storage = KafkaDeadLetterStorage.__new__(KafkaDeadLetterStorage)
    storage.bootstrap, storage.topics = bootstrap, topics
    storage._open()
    return storage
