"""The source's contract: several members of one group, for logs that deal their partitions out."""

from __future__ import annotations

from collections.abc import Sequence

from flowguard.domain.ingestion import Position, TopicPartition
from flowguard.ports.event_log import EventLog
from flowguard.ports.publisher import NewRecord
from tests.contracts.log_case import P0, TOPIC, Member, publish, things
from tests.contracts.source_group import ALL, GroupCase, committed
from tests.contracts.storage import LogStorage


class SharedGroupContract(GroupCase):
    """On top of SourceContract. The embedded log has it not: one member has all, and the next one takes over."""

    def test_members_share_the_partitions(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 3})
        members = [Member(storage.source([TOPIC])) for _ in range(3)]
        self.settled(members[0])
        self.settled(*members[:2])
        self.settled(*members)
        assert [len(member.owned) for member in members] == [1, 1, 1]
        for member in members:
            member.source.close()

    def test_more_members_than_partitions(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        members = [Member(storage.source([TOPIC])) for _ in range(2)]
        self.until(lambda: [place for one in members for place in one.owned] == [P0], *members)
        publish(storage, things("a"))
        self.until(lambda: [value for one in members for value in one.values()] == [b"a"], *members)
        for member in members:
            member.source.close()

    def test_a_member_that_joins_takes_over_what_others_give_up(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 3})
        old = Member(storage.source([TOPIC]))
        self.settled(old)
        new = Member(storage.source([TOPIC]))
        self.settled(old, new)
        for partition in new.owned:
            assert old.times("revoked", partition) == 1
            assert old.times("lost", partition) == 0
        old.source.close()
        new.source.close()

    def test_a_member_that_leaves_hands_over(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 3})
        stays, goes = Member(storage.source([TOPIC])), Member(storage.source([TOPIC]))
        self.settled(stays, goes)
        before = len(stays.told)
        goes.source.close()
        self.settled(stays)
        assert {how for how, _ in stays.told[before:]} <= {"revoked", "assigned"}
        assert stays.times("lost", P0) == 0
        stays.source.close()

    def test_what_is_revoked_can_be_committed_until_then(self, log: EventLog, storage: LogStorage) -> None:
        """The new owner goes on exactly there."""
        log.ensure({TOPIC: 3})
        publish(storage, [NewRecord(b"%d" % number, b"%d" % number) for number in range(60)])
        old = Member(storage.source([TOPIC]))
        self.until(lambda: len(old.values()) == 60, old)
        ends = {place: old.offsets(place)[-1] + 1 for place in ALL}

        def drain(partitions: Sequence[TopicPartition]) -> None:
            old.source.commit([Position(place, ends[place]) for place in partitions])

        old.when_revoked = drain
        new = Member(storage.source([TOPIC]))
        self.settled(old, new)
        for place in new.owned:
            assert committed(log)[place.partition] == ends[place]
        publish(storage, [NewRecord(b"%d" % number, b"%d" % number) for number in range(60, 120)])
        moved = set(new.owned)
        wanted = sum(len(log.logged(place)) - ends[place] for place in moved)
        self.until(lambda: len(new.values()) == wanted, old, new)
        for place in moved:
            assert new.offsets(place)[0] == ends[place]
        old.source.close()
        new.source.close()

    def test_what_was_revoked_is_neither_read_nor_committed(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 3})
        old, new = Member(storage.source([TOPIC])), Member(storage.source([TOPIC]))
        self.settled(old)
        self.settled(old, new)
        old.source.commit([Position(place, 5) for place in new.owned])
        old.source.resume(dict.fromkeys(new.owned, 0))
        assert committed(log) == [None] * 3
        publish(storage, [NewRecord(b"%d" % number, b"%d" % number) for number in range(60)])
        # A member asserts by itself that it reads only what is its own.
        self.until(lambda: len(old.values()) + len(new.values()) == 60, old, new)
        for place in new.owned:
            assert old.offsets(place) == []
        old.source.close()
        new.source.close()

    def test_a_member_that_was_given_up_learns_that_it_lost_all(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 3})
        zombie = Member(storage.source([TOPIC]))
        self.settled(zombie)
        storage.expire(zombie.source)
        heir = Member(storage.source([TOPIC]))
        self.settled(heir)
        zombie.source.commit([Position(place, 9) for place in ALL])
        assert committed(log) == [None] * 3
        self.until(lambda: zombie.times("lost", P0) == 1, zombie)
        self.settled(zombie, heir)
        assert [zombie.times("lost", place) for place in sorted(ALL)] == [1, 1, 1]
        assert [zombie.times("revoked", place) for place in sorted(ALL)] == [0, 0, 0]
        zombie.source.close()
        heir.source.close()
