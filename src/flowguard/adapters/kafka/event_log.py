"""Kafka as an administrator and an auditor see it: topics are made, described and read, outside any group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message
from confluent_kafka import TopicPartition as Place

from flowguard.adapters.kafka.errors import mapped, translated
from flowguard.adapters.kafka.health import ClientHealth
from flowguard.adapters.kafka.options import KafkaOptions
from flowguard.adapters.kafka.records import runs_of, split
from flowguard.adapters.kafka.topics import KafkaTopics
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.domain.ingestion import RecordRun, TopicPartition
from flowguard.ports.event_log import EventLog, PartitionSpan, TopicDescription

_READ_BYTES: Final = 4 * 1024 * 1024
_READ_MESSAGES: Final = 20_000
_AT_ONCE: Final = 500
_WAIT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class TopicLayout:
    """How a topic is made, beside its partitions. `replication` -1, `retention_s` None: as the brokers do by default.

    `configs` are more of Kafka's own settings of a topic, by name (`min.insync.replicas`).
    """

    replication: int = -1
    retention_s: float | None = None
    configs: Mapping[str, str] = field(default_factory=dict)

    def settings(self) -> dict[str, str]:
        """All of them, as Kafka names them; retention -1 is for ever."""
        if self.retention_s is None:
            return dict(self.configs)
        kept = -1 if self.retention_s < 0 else int(self.retention_s * 1_000)
        return {"retention.ms": str(kept), **self.configs}


class KafkaEventLog(EventLog):
    """Connects at the first question. `layouts` are of topics by name, `layout` of all others.

    `group` is the name under which it reads; it joins no group, and commits nothing. An answer comes within
    `timeout_s`.
    """

    def __init__(
        self,
        options: KafkaOptions,
        *,
        layouts: Mapping[str, TopicLayout] | None = None,
        layout: TopicLayout = TopicLayout(),  # it is frozen
        group: str = "flowguard",
        timeout_s: float = 10.0,
    ) -> None:
        self._options = options
        self._layouts = layouts or {}
        self._layout = layout
        self._group = group
        self._timeout_s = timeout_s
        self._topics = KafkaTopics(options, timeout_s=timeout_s, starting=True)
        self._health = ClientHealth()
        self._consumer: Consumer | None = None
        self._stands_at: tuple[TopicPartition, int] | None = None

    def ensure(self, topics: Mapping[str, int]) -> Sequence[str]:
        if wrong := sorted(name for name, count in topics.items() if count < 1):
            raise ConfigurationError(f"topic {', '.join(wrong)} needs at least 1 partition")
        made = []
        for name, count in topics.items():
            layout = self._layouts.get(name, self._layout)
            if self._topics.look(name) is None and self._topics.create(
                name, count, replication=layout.replication, configs=layout.settings()
            ):
                made.append(name)
        return made

    def describe(self, topic: str, group: str) -> TopicDescription | None:
        facts = self._topics.look(topic)
        if facts is None:
            return None
        earliest, ends = self._topics.earliest(facts.partitions), self._topics.ends(facts.partitions)
        committed = self._topics.committed(group, facts.partitions)
        if not earliest.keys() == ends.keys() == set(facts.partitions):
            if (again := self._topics.look(topic)) is None or again.topic_id != facts.topic_id:
                return None  # it was deleted in between
            raise TransientError(f"topic {topic}: some of its partitions have no leader just now")
        spans = [PartitionSpan(one, earliest[one], ends[one], committed.get(one)) for one in facts.partitions]
        return TopicDescription(topic, facts.topic_id, tuple(spans))

    def read(self, partition: TopicPartition, first: int, last: int) -> Sequence[RecordRun]:
        # Where to end is known before anything is read: the client itself would wait for more for ever.
        start = max(first, self._bound(self._topics.earliest([partition]), partition))
        stop = min(last + 1, self._bound(self._topics.ends([partition]), partition))
        if start >= stop:
            return ()
        with mapped(f"{partition}", self._health, starting=True):
            found = self._read(partition, start, stop)
        return runs_of(found)

    def logged(self, partition: TopicPartition) -> OffsetRanges:
        # To tell which offsets hold none (transactions, compaction) is to read them all: whoever misses one reads it.
        end = self._bound(self._topics.ends([partition]), partition)
        return OffsetRanges([(0, end - 1)] if end else ())

    def close(self) -> None:
        consumer, self._consumer, self._stands_at = self._consumer, None, None
        if consumer is not None:
            consumer.close()
        self._topics.close()

    def _bound(self, found: Mapping[TopicPartition, int], partition: TopicPartition) -> int:
        """The offset; 0 where there is no such partition. Raises TransientError where it only has no leader."""
        if partition not in found:
            facts = self._topics.look(partition.topic)
            if facts is not None and partition in facts.partitions:
                raise TransientError(f"{partition} has no leader just now")
        return found.get(partition, 0)

    def _read(self, partition: TopicPartition, start: int, stop: int) -> list[Message]:
        """Records from `start` on, below `stop`, up to a bound; none where there is none."""
        consumer = self._standing_at(partition, start)
        self._stands_at = None
        found: list[Message] = []
        size, largest = 0, _READ_BYTES // _AT_ONCE
        deadline = monotonic() + self._timeout_s
        while size < _READ_BYTES and len(found) < _READ_MESSAGES:
            one = consumer.poll(_WAIT_S)  # `consume` would wait for as many as were asked for, or to its time-out
            got = [] if one is None else [one]  # an empty message is falsy
            largest = max([largest, *map(len, got)])
            more = 1 + (_READ_BYTES - size) // largest  # as many as fit, if they are like those before them
            records, others = split(got + consumer.consume(more, 0) if got else got)
            if records:
                deadline = monotonic() + self._timeout_s
                found += records
                size += sum(map(len, records))
                largest = max([largest, *map(len, records)])
            if (records and _offset(records[-1]) >= stop - 1) or _ended(partition, others, stop):
                consumer.unassign()  # nobody waits for more: the brokers are not asked for it
                break
            if monotonic() > deadline:
                reason = f" ({self._health.reason})" if self._health.reason else ""
                raise TransientError(f"{partition}: Kafka gave nothing of offsets {start} to {stop - 1}{reason}")
        else:
            self._stands_at = (partition, _offset(found[-1]) + 1)
        self._health.clear()
        return [each for each in found if _offset(each) < stop]

    def _standing_at(self, partition: TopicPartition, start: int) -> Consumer:
        """The consumer, about to read from there."""
        if self._consumer is None:
            # What is asked for is there: a broker that has to wait for more is at the end, and says so at once.
            limits = {"queued.max.messages.kbytes": 8_192, "fetch.wait.max.ms": 10}
            self._consumer = Consumer(
                self._options.consumer(self._group, self._health, defaults=limits, owned={"enable.partition.eof": True})
            )
        if self._stands_at != (partition, start):
            self._consumer.assign([Place(*partition, start)])
        return self._consumer


def _offset(message: Message) -> int:
    return message.offset() or 0


def _ended(partition: TopicPartition, others: list[Message], stop: int) -> bool:
    """The end was reached. One that is told of below `stop` was the end earlier on."""
    for message in others:
        error = message.error()
        assert error is not None  # noqa: S101  # that is what sets it apart from a record
        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  # public, in spite of its name
            raise translated(error, f"{partition}", starting=True)
        if _offset(message) >= stop:
            return True
    return False
