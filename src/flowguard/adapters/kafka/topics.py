"""What the cluster tells of its topics and groups, and the making of topics. Answers within a time-out."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from time import monotonic, sleep
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection, Uuid
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]  # public, by its docs

from flowguard.adapters.kafka.errors import MISSING, error_of, mapped
from flowguard.adapters.kafka.health import ClientHealth
from flowguard.adapters.kafka.options import KafkaOptions
from flowguard.domain.errors import TransientError
from flowguard.domain.ingestion import TopicPartition

_T = TypeVar("_T")
_TIMEOUT_S: Final = 10.0
_PAUSE_S: Final = 0.02
_GRACE_S: Final = 1.0
"""The client keeps to the time-out itself, and says why; it is waited for that much longer."""
_ABSENT: Final = MISSING | {KafkaError._NOENT}  # noqa: SLF001  # of all that were asked for, no partition has a leader
_MOMENTARY: Final = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
    }
)
_SILENT: Final = frozenset({KafkaError._TIMED_OUT, KafkaError._TRANSPORT})  # noqa: SLF001  # as above


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as it is now. `topic_id` is `cluster id/topic id`: it changes when the topic is made again."""

    topic: str
    topic_id: str
    partitions: tuple[TopicPartition, ...]


class KafkaTopics:
    """Asks the cluster; connects at the first question. Any thread may ask. Every method raises what `mapped` raises.

    `starting`: refused credentials are a ConfigurationError, not a reason to wait. Each question takes up to
    `timeout_s` seconds.
    """

    def __init__(self, options: KafkaOptions, *, timeout_s: float = _TIMEOUT_S, starting: bool = False) -> None:
        self._options = options
        self._timeout_s = timeout_s
        self._starting = starting
        self._health = ClientHealth()
        self._making = Lock()
        self._admin: AdminClient | None = None

    def topic_id(self, topic: str) -> str | None:
        """`cluster id/topic id`, or None where there is no such topic."""
        facts = self.look(topic)
        return None if facts is None else facts.topic_id

    def look(self, topic: str) -> TopicFacts | None:
        """The topic with its partitions in order, or None where there is none."""

        def ask(admin: AdminClient) -> TopicFacts | None:
            asked = admin.describe_topics(TopicCollection([topic]), request_timeout=self._timeout_s)[topic]
            try:
                described = self._answer(asked)
            except KafkaException as error:
                if _code(error) in MISSING:
                    return None
                raise
            cluster = admin.cluster_id(timeout=self._timeout_s)
            partitions = tuple(sorted(TopicPartition(topic, one.id) for one in described.partitions))
            return TopicFacts(topic, f"{cluster}/{id_of(described)}", partitions)

        return self._ask(f"topic {topic}", ask)

    def earliest(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The lowest offset that is kept. Partitions that are not there are left out."""
        return self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where a reader of committed records comes to the end. Partitions that are not there are left out."""
        return self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def committed(self, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The group's next offsets, of those partitions where it has one."""
        places = [Place(*one) for one in partitions]
        if not places:
            return {}
        health = ClientHealth()
        with mapped(f"group {group}", health, starting=self._starting):
            # A consumer that joins nothing. The AdminClient's own question ends the process (librdkafka 2.16) when the
            # group's coordinator has moved, or answers late.
            asking = Consumer(self._options.consumer(group, health))
            try:
                found = self._patiently(lambda: _committed(asking, places, self._timeout_s))
            finally:
                asking.close()
        return {TopicPartition(one.topic, one.partition): one.offset for one in found if one.offset >= 0}

    def create(
        self, topic: str, partitions: int, *, replication: int = -1, configs: Mapping[str, str] | None = None
    ) -> bool:
        """Make the topic, and wait until it can be used; False where it is there already.

        `replication` -1 is the brokers' default. `configs` are Kafka's topic settings (`retention.ms`).
        """
        new = NewTopic(topic, partitions, replication, config=dict(configs or {}))

        def ask(admin: AdminClient) -> bool:
            times = {"request_timeout": self._timeout_s, "operation_timeout": self._timeout_s}
            try:
                self._answer(admin.create_topics([new], **times)[topic])
            except KafkaException as error:
                if _code(error) == KafkaError.TOPIC_ALREADY_EXISTS:
                    return False
                raise
            return True

        if not self._ask(f"topic {topic}", ask):
            return False
        wanted = {TopicPartition(topic, number) for number in range(partitions)}
        deadline = monotonic() + self._timeout_s
        # A moment passes until every broker has heard of a new topic, and leads its partitions.
        while self.look(topic) is None or not wanted <= self.ends(wanted).keys():
            if monotonic() > deadline:
                raise TransientError(f"topic {topic}: it was made, and the brokers do not show it yet")
            sleep(_PAUSE_S)
        return True

    def close(self) -> None:
        """Let go of the connection. Idempotent; a later question connects again."""
        with self._making:
            self._admin = None

    def _offsets(self, partitions: Iterable[TopicPartition], spec: OffsetSpec) -> dict[TopicPartition, int]:
        wanted = {Place(*one): spec for one in partitions}
        if not wanted:
            return {}

        def ask(admin: AdminClient) -> dict[TopicPartition, int]:
            found = {}
            for place, future in admin.list_offsets(
                wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=self._timeout_s
            ).items():
                try:
                    found[TopicPartition(place.topic, place.partition)] = self._answer(future).offset
                except KafkaException as error:
                    if _code(error) not in _ABSENT:
                        raise
            return found

        return self._ask(f"topic {', '.join(sorted({place.topic for place in wanted}))}", ask)

    def _ask(self, doing: str, question: Callable[[AdminClient], _T]) -> _T:
        with self._asking(doing) as admin:
            return self._patiently(lambda: question(admin))

    def _patiently(self, question: Callable[[], _T]) -> _T:
        """Put the question; again and again where the cluster is but moving something from one broker to another."""
        deadline = monotonic() + self._timeout_s
        while True:
            try:
                return question()
            except KafkaException as error:
                if _code(error) not in _MOMENTARY or monotonic() > deadline:
                    raise
            sleep(_PAUSE_S)

    @contextmanager
    def _asking(self, doing: str) -> Iterator[AdminClient]:
        with mapped(doing, self._health, starting=self._starting):
            with self._making:
                if self._admin is None:
                    self._admin = AdminClient(self._options.admin(self._health))
                admin = self._admin
            try:
                yield admin
            except TimeoutError as error:
                self._forget(admin)
                raise TransientError(f"{doing}: Kafka does not answer; {self._health.reason}") from error
            except KafkaException as error:
                if _code(error) in _SILENT:
                    self._forget(admin)
                raise
            except TransientError:
                self._forget(admin)
                raise
            finally:
                admin.poll(0)  # it brings the log, and why a broker cannot be reached
            self._health.clear()

    def _forget(self, admin: AdminClient) -> None:
        """The next question is put by a new client: this one may go on asking a broker that is gone, for ever."""
        with self._making:
            if self._admin is admin:
                self._admin = None

    def _answer(self, asked: Future[_T]) -> _T:
        return asked.result(self._timeout_s + _GRACE_S)


def _committed(asking: Consumer, places: list[Place], timeout_s: float) -> list[Place]:
    found = asking.committed(places, timeout=timeout_s)
    for one in found:
        if one.error is not None:
            raise KafkaException(one.error)
    return found


def id_of(described: Any) -> str:  # noqa: ANN401  # the client does not export its type
    """The topic id, which the description has as text afterwards.

    confluent-kafka (2.16) counts one reference to it too many: 100 bytes would stay behind with each answer, which is
    half a gigabyte a day where a source asks sixty times a second. What is one too many is told by an object that only
    this frame refers to, so that nothing is given back once that is mended.
    """
    if isinstance(described.topic_id, Uuid):
        ours = object()
        id_ = vars(described).pop("topic_id")
        for _ in range(sys.getrefcount(id_) - sys.getrefcount(ours)):
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(id_))
        described.topic_id = str(id_)
    text: str = described.topic_id
    return text


def _code(error: KafkaException) -> int | None:
    inner = error_of(error)
    return None if inner is None else inner.code()
