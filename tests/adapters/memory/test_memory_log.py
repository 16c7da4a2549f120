"""What the memory log promises beyond the ports: its hub, its hooks for tests, and long runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from flowguard.adapters.memory import MemoryEventLog, MemoryEventPublisher, MemoryEventSource, MemoryLog
from flowguard.domain.errors import BackpressureError, ConfigurationError, TransientError
from flowguard.domain.ingestion import KEY_OVERHEAD, RECORD_OVERHEAD, Assignment
from flowguard.ports.publisher import NewRecord
from tests.contracts.log_case import GROUP, P0, TOPIC, Member, offsets_of, values_of

SMALL = [NewRecord(None, b"%d" % number) for number in range(10_000)]


def reader(log: MemoryLog, fetch_bytes: int = 1 << 30) -> Member:
    member = Member(MemoryEventSource(log, GROUP, [TOPIC], fetch_bytes=fetch_bytes))
    while not member.owned:
        member.poll(0.0)
    return member


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.ensure({TOPIC: 1})
    return log


def test_records_without_a_key_go_round(log: MemoryLog) -> None:
    log.ensure({"raw.wide.v1": 3})
    places = [place for size in (1, 2, 4) for place in log.append("raw.wide.v1", SMALL[:size])[1]]
    assert places == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2)]


def test_single_records_are_handed_out_in_long_runs(log: MemoryLog) -> None:
    for record in SMALL[:3_000]:
        log.append(TOPIC, [record])
    runs = reader(log).poll(0.0)
    assert [len(run) for run in runs] == [3_000]


def test_a_poll_is_bounded_over_many_runs(log: MemoryLog) -> None:
    log.append(TOPIC, SMALL)
    member = reader(log, fetch_bytes=700_000)
    sizes = []
    while runs := member.poll(0.0):
        sizes.append(sum(run.size_bytes for run in runs))
    assert len(sizes) == 2
    assert max(sizes) <= 700_000
    assert member.offsets(P0) == list(range(10_000))


def test_what_was_handed_out_does_not_change_with_the_log(log: MemoryLog) -> None:
    log.append(TOPIC, SMALL[:2])
    (run,) = reader(log).poll(0.0)
    log.append(TOPIC, SMALL[2:5])
    log.truncate(P0, 3)
    assert (list(run.offsets), list(run.values)) == ([0, 1], [b"0", b"1"])


def test_retention_inside_and_across_runs(log: MemoryLog) -> None:
    log.append(TOPIC, SMALL)
    for before in (5, 4_096, 4_097, 9_000, 9_000, 10_000):
        log.truncate(P0, before)
        runs = MemoryEventLog(log).read(P0, 0, 10_000)
        assert offsets_of(runs) == list(range(before, 10_000))
        assert log.size_bytes == sum(run.size_bytes for run in runs)


def test_size_is_that_of_what_is_kept(log: MemoryLog) -> None:
    log.append(TOPIC, [NewRecord(b"k", b"x" * 1_000)] * 3)
    (run,) = MemoryEventLog(log).read(P0, 0, 9)
    assert log.size_bytes == run.size_bytes == 3 * (1_000 + RECORD_OVERHEAD + 1 + KEY_OVERHEAD)
    log.delete_topic(TOPIC)
    assert log.size_bytes == 0


def test_deleting_a_topic_that_is_not_there_is_said_so(log: MemoryLog) -> None:
    with pytest.raises(ConfigurationError, match=r"no\.such\.topic"):
        log.delete_topic("no.such.topic")


def test_without_readers_nothing_is_dropped() -> None:
    log = MemoryLog(max_bytes=1_000)
    log.ensure({TOPIC: 1})
    log.append(TOPIC, [NewRecord(None, b"x" * 800)])
    with pytest.raises(BackpressureError, match="full"):
        log.append(TOPIC, [NewRecord(None, b"x")])


def test_a_full_log_fails_its_check() -> None:
    log = MemoryLog(max_bytes=1_000)
    log.ensure({TOPIC: 1})
    publisher = MemoryEventPublisher(log)
    asyncio.run(publisher.check())
    log.append(TOPIC, [NewRecord(None, b"x" * 900)])
    with pytest.raises(BackpressureError):
        asyncio.run(publisher.check())


def test_the_oldest_of_all_topics_goes_first() -> None:
    times = iter(range(10))
    log = MemoryLog(max_bytes=1_000, now_ms=lambda: next(times))
    others = "raw.others.v1"
    log.ensure({TOPIC: 1, others: 1})
    source = MemoryEventSource(log, GROUP, [TOPIC, others])
    member = Member(source)
    for topic in (others, TOPIC):
        log.append(topic, [NewRecord(None, b"x" * 300)])
    while len(member.values()) < 2:
        member.poll(0.0)
    for run in member.runs:
        log.group(GROUP).committed[run.partition] = run.next_offset
    log.append(TOPIC, [NewRecord(None, b"y" * 300)])
    faces = MemoryEventLog(log)
    assert values_of(faces.read(P0, 0, 9)) == [b"x" * 300, b"y" * 300]
    assert log.size_bytes == 800


def test_a_member_that_is_given_up_while_it_is_told_reads_nothing(log: MemoryLog) -> None:
    log.append(TOPIC, SMALL[:3])
    source = MemoryEventSource(log, GROUP, [TOPIC])

    class Slow(Member):
        def on_assigned(self, assignments: Sequence[Assignment]) -> None:
            super().on_assigned(assignments)
            source.resume(dict.fromkeys(self.owned))
            if self.times("assigned", P0) == 1:
                source.expire()

    member = Slow(source, resumes=False)
    assert list(member.poll(0.0)) == []
    member.poll(0.0)
    assert [how for how, _ in member.told] == ["assigned", "lost", "assigned"]
    assert member.offsets(P0) == [0, 1, 2]


def test_a_closed_source_says_so(log: MemoryLog) -> None:
    member = reader(log)
    member.source.close()
    with pytest.raises(TransientError, match="closed"):
        member.poll(0.0)


def test_many_threads_publish_and_read(log: MemoryLog) -> None:
    """Each record once and in order, while others write, wait and are woken."""
    member, done = reader(log), Event()

    def publish(start: int) -> None:
        for number in range(start, start + 500):
            log.append(TOPIC, [NewRecord(None, b"%d" % number)])

    def read() -> None:
        while not done.is_set() or member.poll(0.0):
            member.poll(0.01)

    with ThreadPoolExecutor(4) as pool:
        reading = pool.submit(read)
        for writing in [pool.submit(publish, start) for start in (0, 1_000, 2_000)]:
            writing.result()
        done.set()
        reading.result()
    assert member.offsets(P0) == list(range(1_500))
    for start in (0, 1_000, 2_000):
        mine = [int(value) for value in member.values() if start <= int(value) < start + 1_000]
        assert mine == list(range(start, start + 500))
