"""Brokers that are down, hang, come back with higher leader epochs, or without their disk. Each has one of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from time import monotonic
from typing import ClassVar

import pytest

from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.domain.ingestion import Position
from flowguard.entrypoints.dev.kafka import KafkaCluster
from tests.adapters.kafka.source_case import CLASSIC, CONSUMER, quicken
from tests.adapters.kafka.storage import KafkaLogStorage
from tests.contracts.log_case import P0, TOPIC, LogCase, Member, publish, things
from tests.servers.kafka import running_cluster

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

NODE = 1


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    with running_cluster(tmp_path_factory.mktemp("kafka"), 1) as cluster:
        yield cluster


class TestOutages(LogCase):
    patience_s: ClassVar[float] = 60.0
    quiet_s: ClassVar[float] = 0.3

    @pytest.fixture(params=[CLASSIC, CONSUMER], ids=["classic", "consumer"])
    def storage(self, request: pytest.FixtureRequest, cluster: KafkaCluster) -> Iterator[KafkaLogStorage]:
        cluster.start()
        quicken(cluster.bootstrap)
        storage = KafkaLogStorage(cluster.url, request.param)
        log = storage.event_log()
        log.ensure({TOPIC: 1})
        publish(storage, things("a", "b", "c"))
        yield storage
        storage.close()

    def reader(self, storage: KafkaLogStorage) -> Member:
        member = Member(storage.source([TOPIC]))
        self.until(lambda: len(member.values()) == 3, member)
        return member

    def patiently(self, member: Member, patience_s: float) -> list[TransientError]:
        """Poll for that long, as a loop does that holds and tries again."""
        deadline, held = monotonic() + patience_s, []
        while monotonic() < deadline:
            try:
                member.poll(0.2)
            except TransientError as error:
                held.append(error)
        return held

    def test_reading_goes_on_by_itself(self, storage: KafkaLogStorage, cluster: KafkaCluster) -> None:
        member = self.reader(storage)
        member.source.commit([Position(P0, 3)])
        cluster.kill(NODE)
        held = self.patiently(member, 8)
        assert held
        assert len(held) < 50
        cluster.start()
        publish(storage, things("d"))
        deadline = monotonic() + self.patience_s
        while b"d" not in member.values():
            assert monotonic() < deadline
            self.patiently(member, 0.1)
        assert member.offsets(P0) == [0, 1, 2, 3]

    def test_nothing_blocks_for_long_while_a_broker_hangs(
        self, storage: KafkaLogStorage, cluster: KafkaCluster
    ) -> None:
        member = self.reader(storage)
        cluster.suspend(NODE)
        try:
            started = monotonic()
            with pytest.raises(TransientError):
                member.source.commit([Position(P0, 3)])
            assert monotonic() - started < 15
            started = monotonic()
            member.source.close()
            assert monotonic() - started < 15
        finally:
            cluster.resume(NODE)

    def test_a_topic_made_again_is_found_whatever_its_leader_epoch(
        self, storage: KafkaLogStorage, cluster: KafkaCluster
    ) -> None:
        """It starts with epoch 0; the client takes what is lower than it knew for news from yesterday."""
        for _ in range(2):
            cluster.stop()
            cluster.start()
        member = self.reader(storage)
        now = KafkaLogStorage(cluster.url, fresh=False)  # with clients that have seen nothing of this
        now.delete_topic(TOPIC)
        now.event_log().ensure({TOPIC: 1})
        publish(now, things("new", "and more"))
        now.close()
        self.until(lambda: len(member.values()) == 5, member)
        assert member.offsets(P0) == [0, 1, 2, 0, 1]

    def test_a_log_that_was_lost_is_not_read_on(self, storage: KafkaLogStorage, cluster: KafkaCluster) -> None:
        """The same topic, by its id, begins at offset 0 again: those offsets are taken."""
        member = self.reader(storage)
        member.source.commit([Position(P0, 3)])
        cluster.stop()
        (lost,) = cluster.folder.rglob(f"{TOPIC}-0")
        shutil.rmtree(lost)
        cluster.start()
        publish(storage, things("taken"))
        with pytest.raises(ConfigurationError, match="ends at offset 1, and was read up to 3"):
            self.patiently(member, self.patience_s)
        assert len(member.values()) == 3
