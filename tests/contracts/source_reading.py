"""The source's contract: one member, alone in its group."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Timer
from time import time

from flowguard.domain.ingestion import Assignment, Position, RecordRun, TopicPartition
from flowguard.ports.event_log import EventLog
from flowguard.ports.publisher import NewRecord
from tests.contracts.log_case import P0, P1, TOPIC, LogCase, Member, publish, read_all, things
from tests.contracts.storage import LogStorage

OTHERS = "raw.others.v1"
NOT_OURS = TopicPartition("raw.others.v1", 7)


def topic_with(log: EventLog, storage: LogStorage, *names: object, partitions: int = 1) -> None:
    """The topic, with records of these names."""
    log.ensure({TOPIC: partitions})
    if names:
        publish(storage, things(*names))


class SourceReading(LogCase):
    def member(self, storage: LogStorage, *partitions: TopicPartition, group: str = "flowguard") -> Member:
        """One that owns the partitions, and has not resumed them."""
        member = Member(storage.source([TOPIC], group), resumes=False)
        self.until(lambda: member.owned.keys() >= set(partitions), member)
        return member

    # -- joining -----------------------------------------------------------------------------------------------------

    def test_the_first_poll_joins_and_assigns_all(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 3, OTHERS: 2, "raw.not.ours.v1": 1})
        member = Member(storage.source([TOPIC, OTHERS]))
        assert member.told == []
        self.until(lambda: len(member.owned) == 5, member)
        assert {how for how, _ in member.told} == {"assigned"}
        for topic, width in ((TOPIC, 3), (OTHERS, 2)):
            described = log.describe(topic, "flowguard")
            assert described is not None
            for number in range(width):
                assert member.owned[TopicPartition(topic, number)] == described.topic_id
        member.source.close()

    def test_a_poll_of_an_empty_topic_returns_nothing(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage)
        member = Member(storage.source([TOPIC]))
        self.until(lambda: P0 in member.owned, member)
        self.stays_quiet(member)
        member.source.close()

    def test_a_waiting_poll_is_woken_by_a_record(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage)
        member = Member(storage.source([TOPIC]))
        self.until(lambda: P0 in member.owned, member)
        later = Timer(0.05, publish, (storage, things("a")))
        later.start()
        # In one poll, far shorter than its timeout: the run's own time limit would tell otherwise.
        while not member.values():
            member.poll(600)
        later.join()
        assert member.values() == [b"a"]
        member.source.close()

    # -- resuming ----------------------------------------------------------------------------------------------------

    def test_nothing_is_read_before_it_is_resumed(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, "a", "b")
        member = self.member(storage, P0)
        self.stays_quiet(member)
        assert member.values() == []
        member.source.resume({P0: None})
        self.until(lambda: member.values() == [b"a", b"b"], member)
        member.source.close()

    def test_resuming_inside_on_assigned(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, "a", "b", "c")
        source = storage.source([TOPIC])

        class Eager(Member):
            def on_assigned(self, assignments: Sequence[Assignment]) -> None:
                super().on_assigned(assignments)
                source.resume({one.partition: 1 for one in assignments})

        member = Eager(source, resumes=False)
        self.until(lambda: member.values() == [b"b", b"c"], member)
        source.close()

    def test_it_starts_at_the_given_offset(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, *range(10), partitions=2)
        (place,) = {TopicPartition(TOPIC, number) for number in (0, 1) if log.logged(TopicPartition(TOPIC, number))}
        member = self.member(storage, P0, P1)
        member.source.resume({place: 7})
        self.until(lambda: len(member.values()) == 3, member)
        assert member.offsets(place) == [7, 8, 9]
        member.source.resume({place: 2})
        self.until(lambda: len(member.values()) == 11, member)
        assert member.offsets(place)[3:] == list(range(2, 10))
        member.source.close()

    def test_it_starts_at_the_end(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, "a", "b")
        member = self.member(storage, P0)
        member.source.resume({P0: 2})
        self.stays_quiet(member)
        publish(storage, things("c"))
        self.until(lambda: member.values() == [b"c"], member)
        member.source.close()

    def test_a_start_below_the_earliest_is_the_earliest(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, *range(10))
        storage.truncate(P0, 4)
        member = self.member(storage, P0)
        member.source.resume({P0: 1})
        self.until(lambda: len(member.values()) == 6, member)
        assert member.offsets(P0) == list(range(4, 10))
        assert member.gaps == [(P0, 1, 3)]
        member.source.close()

    def test_without_a_start_it_is_the_earliest_that_is_kept(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, *range(10))
        before = self.member(storage, P0)
        before.source.commit([Position(P0, 2)])
        before.source.close()
        storage.truncate(P0, 4)
        member = self.member(storage, P0)
        member.source.resume({P0: None})
        self.until(lambda: len(member.values()) == 6, member)
        assert member.offsets(P0) == list(range(4, 10))
        assert member.gaps == [(P0, 2, 3)]
        member.source.close()

    def test_what_went_before_the_group_came_is_no_gap(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, *range(10))
        storage.truncate(P0, 4)
        member = self.member(storage, P0)
        member.source.resume({P0: None})
        self.until(lambda: len(member.values()) == 6, member)
        assert member.offsets(P0) == list(range(4, 10))
        assert member.gaps == []
        member.source.close()

    def test_retention_that_overtakes_the_reader(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, *range(5))
        member = self.member(storage, P0)
        member.source.resume({P0: None})
        self.until(lambda: len(member.values()) == 5, member)
        member.source.pause([P0])
        publish(storage, things(*range(5, 10)))
        storage.truncate(P0, 8)
        member.source.resume({P0: None})
        self.until(lambda: 9 in member.offsets(P0), member)
        # A client may hold what it fetched before; what it does not hold, it tells of.
        assert (member.offsets(P0)[5:], member.gaps) in (([8, 9], [(P0, 5, 7)]), ([5, 6, 7, 8, 9], []))
        member.source.close()

    # -- pausing -----------------------------------------------------------------------------------------------------

    def test_a_paused_partition_is_quiet_and_goes_on_where_it_stood(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, "a", "b")
        member = self.member(storage, P0)
        member.source.resume({P0: None})
        self.until(lambda: len(member.values()) == 2, member)
        member.source.pause([P0])
        publish(storage, things("c", "d"))
        self.stays_quiet(member)
        member.source.pause([P0])
        member.source.resume({P0: None})
        self.until(lambda: len(member.values()) == 4, member)
        member.source.resume({P0: None})
        publish(storage, things("e"))
        self.until(lambda: len(member.values()) == 5, member)
        assert member.offsets(P0) == [0, 1, 2, 3, 4]
        member.source.close()

    def test_a_start_is_not_forgotten_by_pausing(self, log: EventLog, storage: LogStorage) -> None:
        """The sink's position was given; memory filled up before anything was read."""
        topic_with(log, storage, *range(10))
        member = self.member(storage, P0)
        member.source.commit([Position(P0, 2)])
        member.source.resume({P0: 6})
        member.source.pause([P0])
        member.source.resume({P0: None})
        self.until(lambda: len(member.values()) == 4, member)
        assert member.offsets(P0) == [6, 7, 8, 9]
        member.source.close()

    def test_a_pause_is_of_its_partitions_only(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 2})
        member = self.member(storage, P0, P1)
        member.source.resume({P0: None, P1: None})
        member.source.pause([P0])
        publish(storage, [NewRecord(b"%d" % number, b"x") for number in range(40)])
        there = len(log.logged(P1))
        assert 0 < there < 40
        self.until(lambda: len(member.values()) == there, member)
        assert member.offsets(P0) == []
        self.stays_quiet(member)
        member.source.close()

    def test_partitions_that_are_not_ours_are_passed_over(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, "a")
        log.ensure({OTHERS: 8})
        member = self.member(storage, P0)
        member.source.pause([NOT_OURS])
        member.source.resume({NOT_OURS: 3, P0: None})
        member.source.commit([Position(NOT_OURS, 3), Position(P0, 1)])
        self.until(lambda: member.values() == [b"a"], member)
        for topic, committed in ((OTHERS, [None] * 8), (TOPIC, [1])):
            described = log.describe(topic, "flowguard")
            assert described is not None
            assert [span.committed for span in described.spans] == committed
        member.source.close()

    # -- records -----------------------------------------------------------------------------------------------------

    def test_records_are_read_as_they_are_in_the_log(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        records = [
            NewRecord(b"key", b"value", (("trace", b"1"), ("trace", b""))),
            NewRecord(None, b"\x00\xff"),
            NewRecord(b"", b""),
        ]
        publish(storage, records)
        publish(storage, things("plain", key=None))
        member = self.member(storage, P0)
        member.source.resume({P0: None})
        self.until(lambda: len(member.values()) == 4, member)
        assert each(member.runs) == each(read_all(log, P0))
        assert [one[1:4] for one in each(member.runs)][:3] == [tuple(record) for record in records]
        assert all(abs(one[4] - time() * 1_000) < 86_400_000 for one in each(member.runs))
        member.source.close()

    def test_offsets_rise_over_gaps(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, "a", "b")
        for name in ("c", "d", "e"):
            storage.skip_offsets(P0, 2)
            publish(storage, things(name))
        member = self.member(storage, P0)
        member.source.resume({P0: 3})
        self.until(lambda: len(member.values()) == 3, member)
        member.source.resume({P0: None})
        publish(storage, things("f"))
        self.until(lambda: len(member.values()) == 4, member)
        assert member.offsets(P0) == [4, 7, 10, 11]
        assert all(list(run.offsets) == sorted(run.offsets) for run in member.runs)
        member.source.close()

    def test_one_poll_is_bounded_in_bytes(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 2})
        values = [b"%d " % number + b"x" * 19_000 for number in range(150)]
        publish(storage, [NewRecord(b"%d" % number, value) for number, value in enumerate(values)])
        member = Member(storage.source([TOPIC], fetch_bytes=100_000))
        largest = 0
        while len(member.values()) < 150:
            runs: Sequence[RecordRun] = ()
            self.until(lambda: P0 in member.owned, member)
            runs = member.poll(self.patience_s)
            assert runs
            largest = max(largest, sum(len(value) for run in runs for value in run.values))
        assert 19_000 < largest <= 100_000
        assert sorted(member.values()) == sorted(values)
        member.source.close()

    def test_a_record_larger_than_the_bound_arrives_alone(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        values = [b"small", b"x" * 500_000, b"small too"]
        publish(storage, [NewRecord(b"k", value) for value in values])
        member = Member(storage.source([TOPIC], fetch_bytes=10_000))
        self.until(lambda: len(member.values()) == 3, member)
        assert member.values() == values
        assert [len(run) for run in member.runs if run.size_bytes > 10_000] == [1]
        member.source.close()

    def test_no_partition_starves_the_others(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 2})
        for start in range(0, 2_000, 200):
            publish(storage, [NewRecord(b"%d" % number, b"x" * 5_000) for number in range(start, start + 200)])
        member = Member(storage.source([TOPIC], fetch_bytes=50_000))
        self.until(lambda: bool(member.offsets(P0) and member.offsets(P1)), member)
        assert len(member.values()) < 500
        member.source.close()

    # -- committing --------------------------------------------------------------------------------------------------

    def test_a_group_goes_on_where_it_committed(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, *range(10))
        first = self.member(storage, P0)
        first.source.resume({P0: None})
        self.until(lambda: len(first.values()) == 10, first)
        first.source.commit([])
        first.source.commit([Position(P0, 3)])
        first.source.commit([Position(P0, 6)])
        described = log.describe(TOPIC, "flowguard")
        assert described is not None
        assert described.spans[0].committed == 6
        first.source.close()
        for group, offsets in (("flowguard", [6, 7, 8, 9]), ("another group", list(range(10)))):
            member = self.member(storage, P0, group=group)
            member.source.resume({P0: None})
            self.until(lambda: len(member.values()) == len(offsets), member)  # noqa: B023  # called at once
            assert member.offsets(P0) == offsets
            member.source.close()

    def test_a_commit_moves_no_reader(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, "a", "b", "c")
        member = self.member(storage, P0)
        member.source.resume({P0: None})
        self.until(lambda: len(member.values()) == 3, member)
        member.source.commit([Position(P0, 1)])
        publish(storage, things("d"))
        self.until(lambda: len(member.values()) == 4, member)
        assert member.offsets(P0) == [0, 1, 2, 3]
        member.source.close()

    def test_closing_commits_nothing_and_can_be_repeated(self, log: EventLog, storage: LogStorage) -> None:
        topic_with(log, storage, "a", "b")
        storage.source([TOPIC]).close()
        member = self.member(storage, P0)
        member.source.resume({P0: None})
        self.until(lambda: len(member.values()) == 2, member)
        member.source.close()
        member.source.close()
        described = log.describe(TOPIC, "flowguard")
        assert described is not None
        assert described.spans[0].committed is None


def each(runs: Sequence[RecordRun]) -> list[tuple[int, bytes | None, bytes, object, int]]:
    """(offset, key, value, headers, timestamp) of every record."""
    return [
        (offset, run.key(index), run.values[index], run.headers_of(index), run.timestamps_ms[index])
        for run in runs
        for index, offset in enumerate(run.offsets)
    ]
