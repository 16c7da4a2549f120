"""Reads dead-letter topics by position, as often as asked: in no group, and with nothing committed."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from time import monotonic
from typing import Final

from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as Position

from flowguard.adapters.kafka.errors import mapped, translated
from flowguard.adapters.kafka.health import ClientHealth
from flowguard.adapters.kafka.letter_index import Place
from flowguard.adapters.kafka.options import KafkaOptions, OptionValue
from flowguard.adapters.kafka.records import runs_of
from flowguard.domain.errors import TransientError
from flowguard.domain.ingestion import RecordRun

_OWNED: Final[dict[str, OptionValue]] = {
    "enable.partition.eof": True,  # the end may be a transaction's mark, which is never given to us
    "fetch.wait.max.ms": 10,
    # What is read is a page, or goes into an index at once: little is fetched ahead (large letters come all the same),
    # and a queue that is full does not cost a second.
    "max.partition.fetch.bytes": 262_144,
    "queued.max.messages.kbytes": 2_048,
    "fetch.queue.backoff.ms": 10,
}
_AT_ONCE: Final = 500
_POLL_S: Final = 0.1
_NEAR: Final = 100
"""Records this close together are read in one go: a new start costs as much as some hundred small records."""


class LetterReader:
    """Connects at the first reading. `group` only names the consumer, for brokers that ask who may read."""

    def __init__(self, options: KafkaOptions, group: str, *, timeout_s: float) -> None:
        self._options = options
        self._group = group
        self._timeout_s = timeout_s
        self._health = ClientHealth()
        self._consumer: Consumer | None = None

    def read(self, topic: str, start: Place, end: int) -> Iterator[RecordRun]:
        """The records of one partition from `start` to below the offset `end`.

        Raises what `mapped` raises, and TransientError where nothing comes for `timeout_s` seconds.
        """
        if start.offset >= end:
            return
        doing = f"topic {topic}"
        with mapped(doing, self._health):
            if self._consumer is None:
                self._consumer = Consumer(self._options.consumer(self._group, self._health, owned=_OWNED))
            consumer = self._consumer
            consumer.assign([Position(topic, *start)])
            try:
                at = start.offset
                deadline = monotonic() + self._timeout_s
                while monotonic() < deadline:
                    # It waits for as many as it is asked for.
                    messages = consumer.consume(min(end - at, _AT_ONCE), _POLL_S)
                    for run in runs_of([one for one in messages if one.error() is None]):
                        if wanted := bisect_left(run.offsets, end):
                            yield run if wanted == len(run) else run.part(0, wanted)
                        deadline = monotonic() + self._timeout_s
                        if (at := run.next_offset) >= end:
                            return
                    for error in (one.error() for one in messages):
                        if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # public
                            return
                        if error is not None:
                            raise translated(error, doing, self._health)
            finally:
                consumer.unassign()
        raise TransientError(f"{doing}: Kafka does not answer; {self._health.reason}")

    def fetch(self, topic: str, places: Iterable[Place]) -> Iterator[tuple[RecordRun, int]]:
        """The records at these places, each as its run and its index there; those that are gone are left out."""
        wanted = set(places)
        for first, last in _stretches(wanted):
            for run in self.read(topic, first, last + 1):
                for index, offset in enumerate(run.offsets):
                    if Place(run.partition.partition, offset) in wanted:
                        yield run, index

    def close(self) -> None:
        """Let go of the connection. Idempotent; a later reading connects again."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()


def _stretches(places: Iterable[Place]) -> Iterator[tuple[Place, int]]:
    """Where to start and the last offset to read, for places that are near each other."""
    partitions: defaultdict[int, list[int]] = defaultdict(list)
    for partition, offset in sorted(places):
        partitions[partition].append(offset)
    for partition, offsets in partitions.items():
        first = offsets[0]
        for offset, following in pairwise([*offsets, offsets[-1] + _NEAR + 1]):
            if following - offset > _NEAR:
                yield Place(partition, first), offset
                first = following
