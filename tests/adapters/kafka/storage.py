"""A real Kafka, without topics and groups at first, for the contract suites; and what befalls it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from time import monotonic, sleep
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient

from flowguard.adapters.kafka import KafkaEventLog, KafkaEventPublisher, KafkaOptions
from flowguard.adapters.kafka.source import KafkaEventSource
from flowguard.adapters.kafka.topics import KafkaTopics
from flowguard.domain.ingestion import TopicPartition
from flowguard.ports.source import EventSource
from tests.adapters.kafka.empty_transaction import leave_a_marker
from tests.adapters.kafka.giving_up import give_up

_PATIENCE_S = 30.0
_OURS = "raw."


def until(condition: Callable[[], bool], what: str, patience_s: float = _PATIENCE_S) -> None:
    """Wait for something that Kafka does in its own time."""
    deadline = monotonic() + patience_s
    while not condition():
        assert monotonic() < deadline, f"it did not happen: {what}"
        sleep(0.01)


class KafkaLogStorage:
    """The topics `raw.*` of a cluster of tests, and all its groups: they are deleted when it is made.

    `options` are of every client. `close` lets go of every adapter that was made.
    """

    def __init__(self, url: str, options: Mapping[str, object] | None = None, *, fresh: bool = True) -> None:
        self.url = url
        self.given = dict(options or {})
        self.options = KafkaOptions.of(url, self.given)
        self._topics = KafkaTopics(self.options)
        self._admin = AdminClient({"bootstrap.servers": self.options.bootstrap})
        self._closers: list[Callable[[], None]] = []
        if fresh:
            known = self._admin.list_topics(timeout=_PATIENCE_S).topics
            self._delete([name for name in known if name.startswith(_OURS)])
            until(self._without_groups, "the groups of earlier tests are gone")

    def __reduce__(self) -> tuple[object, ...]:
        """Travels to another process as what it is made of; there, nothing is deleted."""
        return _arrived, (self.url, self.given)

    def close(self) -> None:
        for close in self._closers:
            close()

    def publisher(self) -> KafkaEventPublisher:
        publisher = KafkaEventPublisher(self.options)
        self._closers.append(lambda: asyncio.run(publisher.close()))
        return publisher

    def source(self, topics: Sequence[str], group: str = "flowguard", fetch_bytes: int = 1_000_000) -> KafkaEventSource:
        source = KafkaEventSource(self.options, group, topics, fetch_bytes=fetch_bytes)
        self._closers.append(source.close)
        return source

    def event_log(self) -> KafkaEventLog:
        log = KafkaEventLog(self.options)
        self._closers.append(log.close)
        return log

    def delete_topic(self, topic: str) -> None:
        partitions = [TopicPartition(topic, number) for number in range(16)]
        self._delete([topic])
        for group in self._groups():
            until(
                lambda group=group: not self._topics.committed(group, partitions),  # type: ignore[misc]
                "what a group committed of the topic is gone",
            )

    def skip_offsets(self, partition: TopicPartition, number: int) -> None:
        """By a transaction that is aborted: its records and its marker take an offset each."""
        before = self._end(partition)
        if number > 1:
            producer = Producer({"bootstrap.servers": self.options.bootstrap, "transactional.id": "skip"})
            producer.init_transactions(_PATIENCE_S)
            producer.begin_transaction()
            for _ in range(number - 1):
                producer.produce(partition.topic, b"aborted", partition=partition.partition)
            producer.flush()
            producer.abort_transaction(_PATIENCE_S)
        else:
            leave_a_marker(self.options.bootstrap, partition)
        until(lambda: self._end(partition) == before + number, "the transaction has ended")

    def truncate(self, partition: TopicPartition, before_offset: int) -> None:
        _wait(self._admin.delete_records([Place(*partition, before_offset)]))

    def expire(self, source: EventSource) -> None:
        assert isinstance(source, KafkaEventSource)
        assert source._member is not None
        member_id = source._member._consumer.memberid()
        consumer_protocol = self.given.get("group.protocol") == "consumer"
        give_up(self.options.bootstrap, source._group, member_id, consumer_protocol=consumer_protocol)

    def _end(self, partition: TopicPartition) -> int:
        return self._topics.ends([partition])[partition]

    def _delete(self, topics: list[str]) -> None:
        if topics:
            _wait(self._admin.delete_topics(topics))
            until(lambda: all(self._topics.look(topic) is None for topic in topics), "the topics are gone")

    def _groups(self) -> list[str]:
        return [one.group_id for one in self._admin.list_consumer_groups().result().valid]

    def _without_groups(self) -> bool:
        """A group with members stays until they have left, or were given up."""
        groups = self._groups()
        for future in self._admin.delete_consumer_groups(groups).values() if groups else ():
            try:
                future.result()
            except KafkaException:
                return False
        return not groups


def _arrived(url: str, options: Mapping[str, object]) -> KafkaLogStorage:
    return KafkaLogStorage(url, options, fresh=False)


def _wait(futures: Mapping[Any, Future[Any]]) -> None:
    for future in futures.values():
        future.result(_PATIENCE_S)
