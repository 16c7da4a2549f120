"""Forwarding as a member of a group: what is lost is not committed, what is revoked is finished first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowguard.adapters.memory import MemoryEventSource, MemoryLog
from flowguard.application.forward import Forward
from flowguard.domain.ingestion import Position, TopicPartition
from flowguard.domain.telemetry import OffsetsGone, PartitionsGone
from tests.application.forwarding import GROUP, TOPIC, Slow, Way, events, held, put
from tests.application.ingesting import DEADLINE_S, ScriptedSource
from tests.application.pipeline import Pipeline
from tests.e2e.pipeline import wait_until


@pytest.fixture
def memory_way(tmp_path: Path) -> Iterator[Way]:
    made = [Pipeline("memory", tmp_path / name, partitions=2) for name in ("origin", "target")]
    yield Way(*made)
    for one in made:
        one.close()


def _started(forward: Forward, stop: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=forward.run, args=(stop,))
    thread.start()
    return thread


def _log(way: Way) -> MemoryLog:
    return way.origin.container.memory_log()


def test_what_is_being_published_when_a_partition_goes_is_committed_first(memory_way: Way) -> None:
    way = memory_way
    put(way.origin, events(0, 99))
    publisher = Slow(way.target.container.publisher())
    first, second = way.forward(publisher), way.forward()
    threads = [_started(first, way.stop)]
    try:
        assert publisher.asked.wait(DEADLINE_S)
        joined = _log(way).rebalances
        threads.append(_started(second, way.stop))
        wait_until(lambda: _log(way).rebalances > joined, "another member joined")
        publisher.let.set()
        wait_until(way.empty, "all is forwarded")
        put(way.origin, events(100, 199))
        wait_until(way.empty, "all is forwarded by both")
    finally:
        publisher.let.set()
        way.stop.set()
        for thread in threads:
            thread.join(DEADLINE_S)
    assert first.forwarded[TOPIC] + second.forwarded[TOPIC] == 200
    assert min(first.forwarded[TOPIC], second.forwarded[TOPIC]) > 0
    assert held(way.target) == held(way.origin)
    assert [one.how for one in way.telemetry.of(PartitionsGone)] == ["revoked"]


def _expired(way: Way, source: MemoryEventSource) -> None:
    source.expire()


def _made_anew(way: Way, source: MemoryEventSource) -> None:
    _log(way).delete_topic(TOPIC)
    _log(way).ensure({TOPIC: 2})
    put(way.origin, events(50, 59))


@pytest.mark.parametrize("happens", [_expired, _made_anew])
def test_of_lost_partitions_nothing_is_committed(
    memory_way: Way, happens: Callable[[Way, MemoryEventSource], None]
) -> None:
    way = memory_way
    put(way.origin, events(0, 9))
    publisher = Slow(way.target.container.publisher())
    inner = way.origin.container.source()
    assert isinstance(inner, MemoryEventSource)
    source = ScriptedSource(inner, threading.Condition())
    committed: list[Position] = []
    source.before_commit = lambda: committed.extend(
        Position(TopicPartition(TOPIC, number), at)
        for number in (0, 1)
        if (at := _log(way).committed(GROUP, TopicPartition(TOPIC, number))) is not None
    )
    forward = way.forward(publisher, source)
    thread = threading.Thread(target=forward.run, args=(way.stop,), kwargs={"finished": way.empty})
    thread.start()
    try:
        assert publisher.asked.wait(DEADLINE_S)
        happens(way, inner)
        wait_until(lambda: bool(way.telemetry.of(PartitionsGone)), "it lost the partitions")
        publisher.let.set()
        thread.join(DEADLINE_S)
    finally:
        publisher.let.set()
        way.stop.set()
        thread.join(DEADLINE_S)
    # What was on its way when they were lost is read and sent again, by whoever has them now.
    assert forward.forwarded == {TOPIC: 20}
    assert committed == []
    assert {one.value for some in held(way.target).values() for one in some} >= {
        one.value for some in held(way.origin).values() for one in some
    }


def test_what_the_origin_does_not_keep_any_more_is_told(memory_way: Way) -> None:
    way = memory_way
    put(way.origin, events(0, 99))
    way.run(way.forward())
    place = TopicPartition(TOPIC, 0)
    before = _log(way).topic(TOPIC).partitions[0].next_offset
    put(way.origin, events(100, 199))
    _log(way).truncate(place, before + 7)
    way.run(way.forward())
    assert way.telemetry.of(OffsetsGone) == [OffsetsGone(place, before, before + 6)]
