"""What every EventLog must do."""

from __future__ import annotations

from time import time
from typing import ClassVar

from flowguard.domain.audit import OffsetRanges
from flowguard.domain.ingestion import Position, TopicPartition
from flowguard.ports.event_log import EventLog, PartitionSpan
from flowguard.ports.publisher import NewRecord
from tests.contracts.log_case import (
    GROUP,
    P0,
    P1,
    TOPIC,
    LogCase,
    Member,
    offsets_of,
    publish,
    read_all,
    things,
    values_of,
)
from tests.contracts.storage import LogStorage

DAY_MS = 86_400_000


class EventLogContract(LogCase):
    """Set `adapter`, and give the fixture `storage`, a fresh LogStorage."""

    adapter: ClassVar[type[EventLog]]

    # -- topics ------------------------------------------------------------------------------------------------------

    def test_topics_are_made_once(self, log: EventLog) -> None:
        assert isinstance(log, self.adapter)
        assert list(log.ensure({})) == []
        assert set(log.ensure({TOPIC: 3, "raw.others.v1": 1})) == {TOPIC, "raw.others.v1"}
        assert list(log.ensure({TOPIC: 3, "raw.more.v1": 2})) == ["raw.more.v1"]
        assert list(log.ensure({TOPIC: 3})) == []

    def test_a_topic_keeps_its_partitions(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 3})
        publish(storage, things("a"))
        log.ensure({TOPIC: 5})
        described = log.describe(TOPIC, GROUP)
        assert described is not None
        assert [span.partition.partition for span in described.spans] == [0, 1, 2]
        assert sum(span.next_offset for span in described.spans) == 1

    def test_a_new_topic_is_empty(self, log: EventLog) -> None:
        assert log.describe(TOPIC, GROUP) is None
        log.ensure({TOPIC: 2})
        described = log.describe(TOPIC, GROUP)
        assert described is not None
        assert described.topic == TOPIC
        assert described.topic_id
        assert list(described.spans) == [PartitionSpan(P0, 0, 0, None), PartitionSpan(P1, 0, 0, None)]
        assert list(log.read(P0, 0, 100)) == []
        assert log.logged(P0) == OffsetRanges()

    def test_topics_have_ids_of_their_own_that_stay(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1, "raw.others.v1": 1})
        first, other = log.describe(TOPIC, GROUP), log.describe("raw.others.v1", GROUP)
        again = storage.event_log().describe(TOPIC, "another group")
        assert first is not None
        assert other is not None
        assert again is not None
        assert first.topic_id == again.topic_id != other.topic_id

    def test_a_topic_made_again_is_another_one(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        publish(storage, things("a", "b"))
        before = log.describe(TOPIC, GROUP)
        storage.delete_topic(TOPIC)
        assert log.describe(TOPIC, GROUP) is None
        assert list(log.ensure({TOPIC: 2})) == [TOPIC]
        after = log.describe(TOPIC, GROUP)
        assert before is not None
        assert after is not None
        assert after.topic_id != before.topic_id
        assert list(after.spans) == [PartitionSpan(P0, 0, 0, None), PartitionSpan(P1, 0, 0, None)]
        assert log.logged(P0) == OffsetRanges()
        assert list(log.read(P0, 0, 100)) == []

    def test_what_a_group_committed_is_its_own(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        publish(storage, things("a", "b", "c"))
        member = Member(storage.source([TOPIC]))
        self.until(lambda: P0 in member.owned, member)
        member.source.commit([Position(P0, 2)])
        for group, committed in ((GROUP, 2), ("another group", None)):
            described = log.describe(TOPIC, group)
            assert described is not None
            assert list(described.spans) == [PartitionSpan(P0, 0, 3, committed)]
        member.source.close()

    # -- records -----------------------------------------------------------------------------------------------------

    def test_records_come_back_as_they_were_published(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        records = [
            NewRecord(b"key", b"value", (("trace", b"1"), ("trace", b""), ("é", b"\x00\xff"))),
            NewRecord(None, b"\x00\xff\xfe"),
            NewRecord(b"", b""),
            NewRecord(b"\xff", b"x" * 900_000),
        ]
        publish(storage, records)
        publish(storage, things("plain", key=None))
        runs = read_all(log, P0)
        back = [
            NewRecord(run.key(index), run.values[index], run.headers_of(index))
            for run in runs
            for index in range(len(run))
        ]
        assert back == [*records, *things("plain", key=None)]
        now_ms = time() * 1_000
        assert all(abs(at - now_ms) < DAY_MS for run in runs for at in run.timestamps_ms)

    def test_a_read_has_both_ends(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        publish(storage, things(*range(10)))
        for first, last, offsets in (
            (3, 5, [3, 4, 5]),
            (0, 0, [0]),
            (9, 99, [9]),
            (10, 99, []),
            (5, 4, []),
            (8, 8, [8]),
        ):
            assert offsets_of(log.read(P0, first, last)) == offsets

    def test_one_read_is_bounded_and_the_next_goes_on(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        values = [b"%d " % number + b"x" * 40_000 for number in range(1_000)]
        for start in range(0, 1_000, 100):
            publish(storage, [NewRecord(None, value) for value in values[start : start + 100]])
        assert len(offsets_of(log.read(P0, 0, 2**62))) < 1_000
        assert values_of(read_all(log, P0)) == values

    def test_offsets_that_hold_no_record_are_passed_over(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        publish(storage, things("a", "b"))
        storage.skip_offsets(P0, 3)
        publish(storage, things("c"))
        storage.skip_offsets(P0, 1)
        publish(storage, things("d"))
        assert offsets_of(read_all(log, P0)) == [0, 1, 5, 7]
        assert offsets_of(log.read(P0, 2, 6)) == [5]
        assert list(log.read(P0, 2, 4)) == []
        assert log.logged(P0) == OffsetRanges([(0, 1), (5, 5), (7, 7)])

    def test_what_retention_removed_was_logged_all_the_same(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        publish(storage, things(*range(10)))
        storage.truncate(P0, 4)
        described = log.describe(TOPIC, GROUP)
        assert described is not None
        assert (described.spans[0].earliest, described.spans[0].next_offset) == (4, 10)
        assert offsets_of(log.read(P0, 0, 5)) == [4, 5]
        assert log.logged(P0) == OffsetRanges([(0, 9)])
        storage.truncate(P0, 10)
        described = log.describe(TOPIC, GROUP)
        assert described is not None
        assert (described.spans[0].earliest, described.spans[0].next_offset) == (10, 10)
        assert list(log.read(P0, 0, 99)) == []
        assert log.logged(P0) == OffsetRanges([(0, 9)])
        publish(storage, things("next"))
        assert offsets_of(read_all(log, P0)) == [10]

    def test_what_is_not_there_is_empty(self, log: EventLog) -> None:
        log.ensure({TOPIC: 1})
        for nowhere in (P1, TopicPartition("no.such.topic", 0)):
            assert list(log.read(nowhere, 0, 10)) == []
            assert log.logged(nowhere) == OffsetRanges()

    def test_partitions_count_apart(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 3, "raw.others.v1": 1})
        receipt = publish(storage, [NewRecord(b"%d" % number, b"%d" % number) for number in range(50)])
        publish(storage, things("other"), "raw.others.v1")
        for number in range(3):
            here = [value for value, (partition, _) in enumerate(receipt.places) if partition == number]
            runs = read_all(log, TopicPartition(TOPIC, number))
            assert values_of(runs) == [b"%d" % value for value in here]
            assert offsets_of(runs) == list(range(len(here)))

    def test_it_outlives_its_adapters_and_closes_twice(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        publish(storage, things("a"))
        log.close()
        log.close()
        reopened = storage.event_log()
        assert values_of(read_all(reopened, P0)) == [b"a"]
        reopened.close()
