"""What the brokers say of topics and groups, and what an administrator does to them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from flowguard.entrypoints.dev.kafka import KafkaCluster
from tests.e2e.pipeline import wait_until

CLICKS = "raw.clicks.v1"
_ASK_S = 5.0
_TIMES = 20


@dataclass(frozen=True)
class Replicas:
    """Who has a partition: node ids."""

    leader: int
    in_sync: frozenset[int]


class Brokers:
    """An administrator's connection to the cluster. Nothing is remembered: every answer is of this moment."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    @classmethod
    def with_no_topics(cls, cluster: KafkaCluster) -> Self:
        """All of them run, and what an earlier test left is gone."""
        cluster.start()
        brokers = cls(cluster.bootstrap)
        brokers.delete(*brokers.topics())
        return brokers

    def replicas(self, topic: str = CLICKS) -> dict[int, Replicas]:
        """By partition; empty where there is no such topic."""
        found = self._topics().get(topic)
        partitions = found.partitions if found is not None else {}
        return {number: Replicas(one.leader, frozenset(one.isrs)) for number, one in partitions.items()}

    def topics(self) -> set[str]:
        """Those of the built-in event types, and of their dead letters."""
        return {name for name in self._topics() if name.startswith("raw.")}

    def members(self, group: str) -> frozenset[str]:
        """The ids that the coordinator gave to the group's members; each start of a consumer gets one of its own."""
        described = self._admin.describe_consumer_groups([group], request_timeout=_ASK_S)[group].result()
        return frozenset(member.member_id for member in described.members)

    def delete(self, *topics: str) -> None:
        """Returns when they are gone."""
        for deleted in self._admin.delete_topics(list(topics)).values() if topics else ():
            deleted.result()
        wait_until(lambda: self._gone(topics), f"{', '.join(topics)} are gone")

    def _gone(self, topics: tuple[str, ...]) -> bool:
        """Brokers hear of it one after the other: it is believed when many in a row, of whichever broker, say so."""
        return not any(self.replicas(topic) for _ in range(_TIMES) for topic in topics)

    def _topics(self) -> dict[str, Any]:
        """The client's own descriptions, by name. Whoever is asked may have died a moment ago: then another one is."""
        for _ in range(_TIMES):
            with suppress(KafkaException):
                return self._admin.list_topics(timeout=_ASK_S).topics
        raise TimeoutError("no broker answers")
