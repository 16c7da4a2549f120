"""Topics that are deleted and made again while they are read."""

from __future__ import annotations

import pytest

from flowguard.ports.event_log import EventLog
from flowguard.ports.publisher import NewRecord
from tests.adapters.kafka.source_case import KafkaCase
from tests.adapters.kafka.storage import KafkaLogStorage
from tests.contracts.log_case import GROUP, P0, TOPIC, Member, publish, things
from tests.contracts.source_reading import topic_with

pytestmark = pytest.mark.kafka

OTHERS = "raw.others.v1"


class TestMadeAgain(KafkaCase):
    @pytest.mark.parametrize("fill", [2, 3, 50], ids=["fewer", "as many", "more"])
    def test_the_new_topic_is_read_from_its_start_under_its_own_id(
        self, log: EventLog, storage: KafkaLogStorage, fill: int
    ) -> None:
        """However many records it has by then; the client itself would go on where it stood in the old one."""
        topic_with(log, storage, "a", "b", "c")
        member = Member(storage.source([TOPIC]))
        self.until(lambda: len(member.values()) == 3, member)
        old = member.owned[P0]
        storage.delete_topic(TOPIC)
        log.ensure({TOPIC: 1})
        publish(storage, things(*(f"new {number}" for number in range(fill))))
        read_under: dict[str, list[bytes]] = {}

        def done() -> bool:
            for run in member.runs:
                read_under.setdefault(member.owned[P0], []).extend(run.values)
            member.runs.clear()
            return len(read_under) == 2 and len(read_under[member.owned[P0]]) == fill

        assert not done()
        self.until(done, member)
        described = log.describe(TOPIC, GROUP)
        assert described is not None
        assert read_under == {
            old: [b"a", b"b", b"c"],
            described.topic_id: [b"new %d" % number for number in range(fill)],
        }
        assert member.gaps == []

    def test_again_and_again(self, log: EventLog, storage: KafkaLogStorage) -> None:
        topic_with(log, storage, "0")
        member = Member(storage.source([TOPIC]))
        ids = set()
        for number in range(1, 4):
            self.until(lambda: len(member.values()) == number, member)  # noqa: B023  # called at once
            ids.add(member.owned[P0])
            storage.delete_topic(TOPIC)
            log.ensure({TOPIC: 1})
            publish(storage, things(number))
        self.until(lambda: len(member.values()) == 4, member)
        assert member.values() == [b"0", b"1", b"2", b"3"]
        assert len({*ids, member.owned[P0]}) == 4
        assert member.times("lost", P0) == 3

    def test_other_topics_are_handed_back_and_go_on_where_they_were_committed(
        self, log: EventLog, storage: KafkaLogStorage
    ) -> None:
        topic_with(log, storage, "a")
        log.ensure({OTHERS: 1})
        publish(storage, things("x", "y"), OTHERS)
        member = Member(storage.source([TOPIC, OTHERS]))
        self.until(lambda: len(member.values()) == 3, member)
        (place,) = member.owned.keys() - {P0}
        ends = {place: 2}

        def drain(partitions: object) -> None:
            from flowguard.domain.ingestion import Position

            member.source.commit([Position(one, ends[one]) for one in ends])

        member.when_revoked = drain
        storage.delete_topic(TOPIC)
        log.ensure({TOPIC: 1})
        publish(storage, things("b"))
        publish(storage, things("z"), OTHERS)
        self.until(lambda: {b"b", b"z"} <= set(member.values()), member)
        assert member.offsets(place) in ([0, 1, 2], [0, 1, 2, 2])
        assert member.times("lost", place) == 0

    def test_with_fewer_partitions(self, log: EventLog, storage: KafkaLogStorage) -> None:
        log.ensure({TOPIC: 3})
        member = Member(storage.source([TOPIC]))
        self.until(lambda: len(member.owned) == 3, member)
        before = set(member.owned)
        storage.delete_topic(TOPIC)
        log.ensure({TOPIC: 1})
        publish(storage, [NewRecord(b"k", b"new")])
        self.until(lambda: member.values() == [b"new"], member)
        assert member.owned.keys() == {P0}
        assert [member.times("lost", place) for place in sorted(before)] == [1, 1, 1]
        assert [member.times("revoked", place) for place in sorted(before)] == [0, 0, 0]
