"""What Kafka's groups and topics do while they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]  # public, by its docs

from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.domain.ingestion import Position
from flowguard.ports.event_log import EventLog
from flowguard.ports.publisher import NewRecord
from tests.adapters.kafka.giving_up import give_up
from tests.adapters.kafka.source_case import CLASSIC, CONSUMER, KafkaCase, quicken
from tests.adapters.kafka.storage import KafkaLogStorage
from tests.contracts.log_case import GROUP, P0, P1, P2, TOPIC, Member, publish
from tests.contracts.source_group import ALL, GroupCase
from tests.contracts.source_reading import topic_with
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka


class TestGroups(KafkaCase, GroupCase):
    def test_partitions_that_are_added_are_picked_up(self, log: EventLog, storage: KafkaLogStorage) -> None:
        topic_with(log, storage, "a")
        member = Member(storage.source([TOPIC]))
        self.until(lambda: member.values() == [b"a"], member)
        admin = AdminClient({"bootstrap.servers": storage.options.bootstrap})
        admin.create_partitions([NewPartitions(TOPIC, 3)])[TOPIC].result(10)
        self.until(lambda: member.owned.keys() == ALL, member)
        publish(storage, [NewRecord(b"%d" % number, b"x") for number in range(60)])
        self.until(lambda: len(member.values()) == 61, member)
        assert all(member.offsets(place) for place in (P0, P1, P2))
        assert {how for how, _ in member.told} == {"assigned"}
        member.source.close()

    def test_a_topic_that_is_made_later_is_read_then(self, log: EventLog, storage: KafkaLogStorage) -> None:
        member = Member(storage.source([TOPIC]))
        self.stays_quiet(member)
        topic_with(log, storage, "a")
        self.until(lambda: member.values() == [b"a"], member)
        member.source.close()

    def test_nothing_connects_before_the_first_poll(self, tmp_path: Path) -> None:
        storage = KafkaLogStorage("kafka://127.0.0.1:9", fresh=False)
        source = storage.source([TOPIC])
        source.resume({P0: 0})
        source.pause([P0])
        source.commit([])
        source.close()
        assert source._member is None

    def test_a_member_that_stays_away_too_long_loses_all_and_comes_back(
        self, log: EventLog, storage: KafkaLogStorage, options: Mapping[str, object]
    ) -> None:
        """Longer than max.poll.interval.ms."""
        topic_with(log, storage, "a")
        away = KafkaLogStorage(storage.url, {**options, "max.poll.interval.ms": 1_500}, fresh=False)
        zombie = Member(away.source([TOPIC]))
        self.until(lambda: zombie.values() == [b"a"], zombie)
        heir = Member(storage.source([TOPIC]))
        self.until(lambda: P0 in heir.owned, heir)
        self.until(lambda: P0 not in zombie.owned, zombie, heir)
        assert zombie.times("lost", P0) == 1
        assert zombie.times("revoked", P0) == 0
        heir.source.close()
        self.until(lambda: P0 in zombie.owned, zombie)
        zombie.source.close()

    def test_a_member_that_knows_that_it_was_given_up_commits_nothing(
        self, log: EventLog, storage: KafkaLogStorage
    ) -> None:
        """Its client has heard of it, its listener has not."""
        topic_with(log, storage, "a")
        source = storage.source([TOPIC])
        zombie = Member(source)
        self.until(lambda: zombie.values() == [b"a"], zombie)
        client = source._member
        assert client is not None
        before = client._consumer.memberid()
        storage.expire(source)
        deadline = monotonic() + 1
        while client._consumer.memberid() == before and monotonic() < deadline:
            pass
        assert P0 in zombie.owned
        zombie.source.commit([Position(P0, 1)])
        described = log.describe(TOPIC, GROUP)
        assert described is not None
        assert described.spans[0].committed is None
        zombie.source.close()

    def test_both_kinds_of_members_share_a_group_while_it_is_migrated(
        self, log: EventLog, storage: KafkaLogStorage
    ) -> None:
        log.ensure({TOPIC: 3})
        members = [
            Member(KafkaLogStorage(storage.url, options, fresh=False).source([TOPIC]))
            for options in (CLASSIC, CONSUMER)
        ]
        self.settled(members[0])
        self.settled(*members)
        for member in members:
            member.source.close()


class TestStaticMembers(GroupCase):
    @pytest.fixture(params=[CLASSIC, CONSUMER], ids=["classic", "consumer"])
    def instances(self, request: pytest.FixtureRequest, kafka: Kafka) -> list[KafkaLogStorage]:
        """Storages whose sources have an identity in the group."""
        quicken(kafka.bootstrap)
        given = {**request.param, "session.timeout.ms": 6_000} if request.param is CLASSIC else request.param
        fresh = KafkaLogStorage(kafka.url, given)
        fresh.close()
        return [
            KafkaLogStorage(kafka.url, {**given, "group.instance.id": f"instance {name}"}, fresh=False)
            for name in ("a", "b")
        ]

    def test_who_comes_back_in_time_has_what_it_had(self, instances: list[KafkaLogStorage]) -> None:
        log = instances[0].event_log()
        log.ensure({TOPIC: 3})
        first, other = (Member(storage.source([TOPIC])) for storage in instances)
        self.settled(first)
        self.settled(first, other)
        had, before = set(first.owned), list(other.told)
        first.source.close()
        again = Member(instances[0].source([TOPIC]))
        self.until(lambda: again.owned.keys() == had, again, other)
        assert other.told == before
        for member in (again, other):
            member.source.close()
        log.close()

    def test_two_processes_under_one_identity(self, instances: list[KafkaLogStorage]) -> None:
        """The classic protocol lets in the younger one, and has the elder say so; the other one keeps the elder."""
        log = instances[0].event_log()
        log.ensure({TOPIC: 3})
        elder, younger = (Member(instances[0].source([TOPIC])) for _ in range(2))
        self.settled(elder)
        if instances[0].given.get("group.protocol") == "consumer":
            with pytest.raises(TransientError, match="instance ID is still used by another member"):
                self.until(lambda: False, younger, elder)
            assert elder.owned.keys() == ALL
            elder.source.close()
            storage = instances[0]
            give_up(storage.options.bootstrap, GROUP, _static_members(storage)[0], consumer_protocol=True)
        else:
            self.until(lambda: younger.owned.keys() == ALL, younger)
            for _ in range(2):
                with pytest.raises(ConfigurationError, match="FLOWGUARD_KAFKA__GROUP_INSTANCE_ID"):
                    self.until(lambda: False, elder)
            assert elder.owned == {}
        self.until(lambda: younger.owned.keys() == ALL, younger)
        for member in (elder, younger):
            member.source.close()
        log.close()


def _static_members(storage: KafkaLogStorage) -> list[str]:
    admin = AdminClient({"bootstrap.servers": storage.options.bootstrap})
    described = admin.describe_consumer_groups([GROUP])[GROUP].result(10)
    return [member.member_id for member in described.members]
