"""What a KafkaEventSource asks the cluster: whether its topics are still the ones that it knows, and what they keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from confluent_kafka import KafkaException, TopicCollection

from flowguard.adapters.kafka.errors import MISSING, error_of, translated
from flowguard.adapters.kafka.options import KafkaOptions
from flowguard.adapters.kafka.topics import KafkaTopics, id_of
from flowguard.domain.ingestion import TopicPartition

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

_TIMEOUT_S: Final = 5.0


class Kept(NamedTuple):
    """Offsets in [earliest, end) can be read: `end` is where a reader of committed records comes to the end."""

    earliest: int
    end: int


class SourceTopics(KafkaTopics):
    """Topic ids of a fixed set of topics, asked without waiting, and the bounds of their partitions.

    An id that was answered was the topic's own at some time after it was asked for.
    """

    def __init__(self, options: KafkaOptions, topics: Iterable[str]) -> None:
        super().__init__(options, timeout_s=_TIMEOUT_S)
        self._names = sorted(set(topics))
        self._asked: Mapping[str, Future[Any]] | None = None

    @property
    def asking(self) -> bool:
        """A question is under way: `answer` has its answer, sooner or later."""
        return self._asked is not None

    def ask(self) -> None:
        """Begin to ask for the ids, and give up what was asked before."""
        self._asked = self._describe()

    def answer(self, timeout_s: float) -> dict[str, str | None] | None:
        """The id of each topic, None for one that is not there; or None where no answer came in time.

        Raises what `mapped` raises; then nothing is asked any more.
        """
        if self._asked is None or wait(self._asked.values(), timeout_s).not_done:
            return None
        asked, self._asked = self._asked, None
        return self._read(asked)

    def ids(self) -> dict[str, str | None]:
        """As `ask` and `answer`, at once, and whatever else is being asked."""
        asked = self._describe()
        wait(asked.values(), self._timeout_s + 1)
        return self._read(asked)

    def kept(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Kept]:
        """What is there of these. Partitions that are not there are left out."""
        ends = self.ends(partitions)
        return {place: Kept(first, ends[place]) for place, first in self.earliest(ends).items()}

    def close(self) -> None:
        self._asked = None
        super().close()

    def _describe(self) -> Mapping[str, Future[Any]]:
        return self._ask(
            self._doing,
            lambda admin: dict(admin.describe_topics(TopicCollection(self._names), request_timeout=self._timeout_s)),
        )

    def _read(self, asked: Mapping[str, Future[Any]]) -> dict[str, str | None]:
        def read(admin: AdminClient) -> dict[str, str | None]:
            ids: dict[str, str | None] = {}
            for topic, future in asked.items():
                # Not raised: frames would refer to it and it to them, and all that they hold would stay for long.
                refused = future.exception(0)
                if refused is None:
                    ids[topic] = id_of(future.result(0))
                    continue
                inner = error_of(refused) if isinstance(refused, KafkaException) else None
                if inner is None:
                    raise refused
                if inner.code() not in MISSING:
                    admin.poll(0)  # it brings why a broker cannot be reached
                    raise translated(inner, self._doing, self._health) from refused
                ids[topic] = None
            # Known since the first answer of a broker: nothing is asked for it.
            cluster = admin.cluster_id(timeout=self._timeout_s)
            return {topic: one and f"{cluster}/{one}" for topic, one in ids.items()}

        return self._ask(self._doing, read)

    @property
    def _doing(self) -> str:
        return f"topic {', '.join(self._names)}"
