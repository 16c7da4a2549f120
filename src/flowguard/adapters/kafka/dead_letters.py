"""Dead letters in a topic of their own beside each topic: `raw.clicks.v1.dlq`.

Such a topic is only ever appended to, by FlowGuard, Kafka Connect or Spring; putting a letter again and marking it are
records too. What they add up to is found on reading, and kept in memory as long as the queue is open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

from flowguard.adapters.kafka.health import LOGGER
from flowguard.adapters.kafka.letter_headers import Put, headers_of, headers_of_mark, read
from flowguard.adapters.kafka.letter_index import Entry, LetterIndex, Place
from flowguard.adapters.kafka.letter_reader import LetterReader
from flowguard.adapters.kafka.letter_writer import MAX_MESSAGE_BYTES, LetterWriter, NewRecord
from flowguard.adapters.kafka.options import KafkaOptions
from flowguard.adapters.kafka.topics import KafkaTopics
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.domain.ingestion import IngestionId, TopicPartition
from flowguard.ports.dead_letters import DeadLetterQueue, State, StoredDeadLetter

_TIMEOUT_S: Final = 30.0
_MARKED_AT_ONCE: Final = 1_000

DEAD_LETTER_CONFIGS: Final = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",  # a dead letter waits for a person
    "retention.bytes": "-1",
    "max.message.bytes": str(MAX_MESSAGE_BYTES),
}
"""The settings of a dead-letter topic. It has one partition."""


def dead_letter_topic(topic: str) -> str:
    """Where the dead letters of this topic rest. `flowguard migrate` makes it."""
    return f"{topic}.dlq"


@dataclass(slots=True)
class _Folded:
    """A dead-letter topic as far as it was read. `nexts`: the offset to go on from, by partition."""

    topic_id: str
    earliest: dict[TopicPartition, int]
    index: LetterIndex
    nexts: dict[TopicPartition, int] = field(default_factory=dict)

    def goes_on(self, topic_id: str, earliest: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> bool:
        """Whether that is still the topic, and perhaps more: not made again, and nothing removed at either end."""
        return (
            self.topic_id == topic_id
            and self.earliest.items() <= earliest.items()
            and all(next_offset <= ends.get(one, -1) for one, next_offset in self.nexts.items())
        )


class KafkaDeadLetterQueue(DeadLetterQueue):
    """Keeps the dead letters of these topics, each in its own dead-letter topic on the same cluster.

    `group` only names the reader, for brokers that ask who may read; nothing is committed. `spring`: letters carry the
    headers of Spring's recoverer too. A put, a question and a stalled reading take up to `timeout_s` seconds each.
    Reading takes in what is new since the last time, and needs some 400 bytes of memory for each letter.
    """

    def __init__(
        self, options: KafkaOptions, topics: Iterable[str], group: str, *, spring: bool = False,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:  # fmt: skip
        self._topics = sorted(set(topics))
        self._spring = spring
        self._cluster = KafkaTopics(options, timeout_s=timeout_s)
        self._writer = LetterWriter(options, timeout_s=timeout_s)
        self._reader = LetterReader(options, group, timeout_s=timeout_s)
        self._there: set[str] = set()
        self._folded: dict[str, _Folded] = {}
        self._told: set[str] = set()

    def put(self, letters: Sequence[DeadLetter], now: datetime) -> None:
        for topic in {letter.ingestion_id.topic for letter in letters}:
            self._require(topic)
        self._append(
            [
                NewRecord(
                    dead_letter_topic(letter.ingestion_id.topic),
                    letter.key,
                    letter.value,
                    headers_of(letter, now, spring=self._spring),
                )
                for letter in letters
            ]
        )

    def page(
        self, *, topic: str | None = None, reason: Reason | None = None, state: State | None = None,
        limit: int = 100, after: IngestionId | None = None,
    ) -> Sequence[StoredDeadLetter]:  # fmt: skip
        page: list[StoredDeadLetter] = []
        for one in self._topics:
            if topic not in {None, one} or (after is not None and one < after.topic) or len(page) >= limit:
                continue
            found = self._refreshed(one).matching(reason, state, after)
            page += self._loaded(one, dict(islice(found, limit - len(page))))
        return page

    def mark(self, ids: Sequence[IngestionId], state: State, now: datetime) -> int:
        by_topic: defaultdict[str, list[IngestionId]] = defaultdict(list)
        for one in dict.fromkeys(ids):
            by_topic[one.topic].append(one)
        records, marked = [], 0
        for topic, some in by_topic.items():
            index = self._refreshed(topic)
            known = [one for one in some if one in index]
            marked += len(known)
            for start in range(0, len(known), _MARKED_AT_ONCE):
                headers = headers_of_mark(known[start : start + _MARKED_AT_ONCE], state, now)
                records.append(NewRecord(dead_letter_topic(topic), None, None, headers))
        self._append(records)
        return marked

    def offsets(self, partition: TopicPartition, incarnation: int) -> OffsetRanges:
        return self._refreshed(partition.topic).offsets(partition.partition, incarnation)

    def close(self) -> None:
        self._writer.close()
        self._reader.close()
        self._cluster.close()
        self._folded.clear()

    # -- writing -----------------------------------------------------------------------------------------------------

    def _require(self, topic: str) -> None:
        """Ask once whether the topic is there: some brokers would make it at the first record, as they see fit."""
        if topic in self._there:
            return
        if topic not in self._topics:
            raise ConfigurationError(f"{topic} is no topic of the catalog: its dead letters would never be read")
        name = dead_letter_topic(topic)
        if self._cluster.look(name) is None:
            raise ConfigurationError(f"topic {name}: there is no such topic: run `flowguard migrate`")
        self._there.add(topic)

    def _append(self, records: Sequence[NewRecord]) -> None:
        try:
            self._writer.append(records)
        except Exception:
            self._there.clear()
            raise

    # -- reading -----------------------------------------------------------------------------------------------------

    def _refreshed(self, topic: str) -> LetterIndex:
        """What the topic's dead letters add up to now."""
        name = dead_letter_topic(topic)
        facts = self._cluster.look(name) if topic in self._topics else None
        if facts is None:
            self._folded.pop(topic, None)
            return LetterIndex(topic)
        partitions = facts.partitions
        earliest = self._cluster.earliest(partitions)
        # Marks stand in partition 0, after their letters. With its end taken first, and its records read last, every
        # mark that is read finds its letter, in whatever partition another program put that.
        ends = self._cluster.ends(partitions[:1])
        ends |= self._cluster.ends(partitions[1:])
        if not earliest.keys() == ends.keys() == set(partitions):
            raise TransientError(f"topic {name}: some partitions have no leader just now")
        folded = self._folded.get(topic)
        if folded is not None and not folded.goes_on(facts.topic_id, earliest, ends):
            self._reader.close()  # it knows the topic as it was
            folded = None
        if folded is None:
            folded = self._folded[topic] = _Folded(facts.topic_id, {}, LetterIndex(topic))
        folded.earliest = earliest
        for partition in reversed(partitions):
            self._fold(folded, partition, ends[partition])
        return folded.index

    def _fold(self, folded: _Folded, partition: TopicPartition, end: int) -> None:
        strangers: list[int] = []
        start = folded.nexts.setdefault(partition, folded.earliest[partition])
        for run in self._reader.read(partition.topic, Place(partition.partition, start), end):
            for index, offset in enumerate(run.offsets):
                record = read(run.headers_of(index), run.timestamps_ms[index])
                if not folded.index.fold(Place(partition.partition, offset), record):
                    strangers.append(offset)
            folded.nexts[partition] = run.next_offset
        folded.nexts[partition] = max(end, start)
        if strangers and partition.topic not in self._told:
            self._told.add(partition.topic)
            LOGGER.warning(
                "%s: %d records are no letters of its topic; they are passed over, as are later ones (the first:"
                " partition %d, offset %d). Kafka Connect says what a letter is with"
                " errors.deadletterqueue.context.headers.enable=true only",
                partition.topic, len(strangers), partition.partition, strangers[0],
            )  # fmt: skip

    def _loaded(self, topic: str, wanted: dict[IngestionId, Entry]) -> list[StoredDeadLetter]:
        """With the bytes of their records."""
        letters = {}
        name = dead_letter_topic(topic)
        for run, index in self._reader.fetch(name, [entry.place for entry in wanted.values()]):
            record = read(run.headers_of(index), run.timestamps_ms[index])
            if isinstance(record, Put):
                letters[record.ingestion_id] = record.letter(run.key(index), run.values[index])
        if letters.keys() != wanted.keys():
            raise TransientError(f"topic {name}: letters were removed while they were read")
        return [
            StoredDeadLetter(letters[one], entry.attempts, entry.first_seen, entry.last_seen, entry.state)
            for one, entry in wanted.items()
        ]
