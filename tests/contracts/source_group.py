"""The source's contract: members that die, and topics that are made again."""

from __future__ import annotations

from flowguard.domain.ingestion import Position, TopicPartition
from flowguard.ports.event_log import EventLog
from flowguard.ports.publisher import NewRecord
from tests.contracts.log_case import GROUP, P0, P1, P2, TOPIC, LogCase, Member, publish, things
from tests.contracts.source_reading import topic_with
from tests.contracts.storage import LogStorage

ALL = {P0, P1, P2}


def committed(log: EventLog, group: str = GROUP) -> list[int | None]:
    described = log.describe(TOPIC, group)
    assert described is not None
    return [span.committed for span in described.spans]


class GroupCase(LogCase):
    def settled(self, *members: Member, partitions: set[TopicPartition] = ALL) -> None:
        """Poll until each partition has one owner, and each member has some. Never has one two owners."""

        def done() -> bool:
            owned = [partition for member in members for partition in member.owned]
            assert len(set(owned)) == len(owned), [member.told for member in members]
            return set(owned) == partitions and all(member.owned for member in members)

        self.until(done, *members)


class SourceGroup(GroupCase):
    # -- members that die --------------------------------------------------------------------------------------------

    def test_groups_do_not_share(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 3})
        members = [Member(storage.source([TOPIC], group)) for group in ("one", "two")]
        self.until(lambda: all(member.owned.keys() == ALL for member in members), *members)
        publish(storage, things("a"))
        self.until(lambda: all(member.values() == [b"a"] for member in members), *members)
        for member in members:
            member.source.close()

    def test_a_member_that_died_is_replaced(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 3})
        publish(storage, things("a", "b", "c"))
        dead = Member(storage.source([TOPIC]))
        self.until(lambda: len(dead.values()) == 3, dead)
        (place,) = {run.partition for run in dead.runs}
        dead.source.commit([Position(place, 1)])
        storage.expire(dead.source)
        heir = Member(storage.source([TOPIC]))
        self.settled(heir)
        self.until(lambda: len(heir.values()) == 2, heir)
        assert heir.offsets(place) == [1, 2]
        heir.source.close()
        dead.source.close()

    def test_a_member_that_was_given_up_commits_nothing(self, log: EventLog, storage: LogStorage) -> None:
        """Before it knows, and whoever owns its partitions by then."""
        log.ensure({TOPIC: 3})
        zombie = Member(storage.source([TOPIC]))
        self.settled(zombie)
        storage.expire(zombie.source)
        zombie.source.commit([Position(place, 9) for place in ALL])
        assert committed(log) == [None] * 3
        heir = Member(storage.source([TOPIC]))
        self.settled(heir)
        zombie.source.commit([Position(place, 9) for place in ALL])
        assert committed(log) == [None] * 3
        zombie.source.close()
        heir.source.close()

    def test_a_member_that_was_given_up_and_is_alone_joins_again(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, "a", "b")
        member = Member(storage.source([TOPIC]))
        self.until(lambda: len(member.values()) == 2, member)
        member.source.commit([Position(P0, 1)])
        storage.expire(member.source)
        self.until(lambda: member.offsets(P0) == [0, 1, 1], member)
        assert [how for how, _ in member.told] == ["assigned", "lost", "assigned"]
        member.source.close()

    # -- a topic made again ------------------------------------------------------------------------------------------

    def test_a_topic_made_again_is_lost_and_assigned_anew(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, "a", "b", "c")
        member = Member(storage.source([TOPIC]))
        self.until(lambda: len(member.values()) == 3, member)
        member.source.commit([Position(P0, 2)])
        before = member.owned[P0]
        storage.delete_topic(TOPIC)
        log.ensure({TOPIC: 2})
        publish(storage, [NewRecord(b"%d" % number, b"new") for number in range(20)])
        self.until(lambda: len(member.values()) == 23, member)
        described = log.describe(TOPIC, GROUP)
        assert described is not None
        assert member.owned == dict.fromkeys((P0, P1), described.topic_id)
        assert described.topic_id != before
        assert member.times("lost", P0) == 1
        assert member.times("revoked", P0) == 0
        # It starts at its own beginning, whatever was committed of the old one.
        assert member.offsets(P0)[3:] == list(range(len(log.logged(P0))))
        assert member.offsets(P1) == list(range(len(log.logged(P1))))
        assert set(member.values()[3:]) == {b"new"}
        member.source.close()

    def test_what_is_assigned_anew_waits_to_be_resumed(self, log: EventLog, storage: LogStorage) -> None:
        """Whatever was resumed before, and in between, when it was nobody's."""
        topic_with(log, storage, "a")
        member = Member(storage.source([TOPIC]), resumes=False)
        self.until(lambda: P0 in member.owned, member)
        member.source.resume({P0: 0})
        self.until(lambda: member.values() == [b"a"], member)
        storage.delete_topic(TOPIC)
        self.until(lambda: P0 not in member.owned, member)
        member.source.resume({P0: 0})
        log.ensure({TOPIC: 1})
        publish(storage, things("b"))
        self.until(lambda: P0 in member.owned, member)
        self.stays_quiet(member)
        assert member.values() == [b"a"]
        member.source.resume({P0: None})
        self.until(lambda: member.values() == [b"a", b"b"], member)
        member.source.close()

    def test_a_deleted_topic_is_lost(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, "a")
        log.ensure({"raw.others.v1": 1})
        member = Member(storage.source([TOPIC, "raw.others.v1"]))
        self.until(lambda: member.values() == [b"a"], member)
        storage.delete_topic(TOPIC)
        self.until(lambda: P0 not in member.owned, member)
        assert member.times("lost", P0) == 1
        publish(storage, things("still here"), "raw.others.v1")
        self.until(lambda: b"still here" in member.values(), member)
        member.source.close()

    def test_nothing_of_an_old_making_is_committed_for_the_new_one(self, log: EventLog, storage: LogStorage) -> None:
        """It was made again, and this member has not polled since."""
        topic_with(log, storage, "a", "b", "c")
        member = Member(storage.source([TOPIC]))
        self.until(lambda: len(member.values()) == 3, member)
        storage.delete_topic(TOPIC)
        log.ensure({TOPIC: 1})
        member.source.commit([Position(P0, 3)])
        assert committed(log) == [None]
        member.source.close()
