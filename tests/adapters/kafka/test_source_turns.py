from __future__ import annotations

from collections.abc import Mapping

from flowguard.adapters.kafka.source_turns import Turns
from flowguard.domain.ingestion import RecordRun, TopicPartition

A, B, C = (TopicPartition("t", number) for number in range(3))
SHARE = 1_000
READING = {A: 10, B: 0, C: 5}


def run(place: TopicPartition, size: int) -> RecordRun:
    return RecordRun(place, [0], [b""], [0], size_bytes=size)


def ends(**ends: int) -> Mapping[TopicPartition, int]:
    """Nothing left to read, where nothing is said."""
    return {A: 10, B: 0, C: 5} | {TopicPartition("t", "abc".index(name)): end for name, end in ends.items()}


def test_who_had_its_share_rests_until_the_others_had_something() -> None:
    turns = Turns(SHARE)
    turns.took([run(A, 600)])
    assert turns.change(0.0, READING, ends(b=1).__getitem__) == ([], [])
    turns.took([run(A, 600)])
    assert turns.change(0.0, READING, ends(b=1).__getitem__) == ([A], [])
    assert turns.change(0.1, READING, ends(b=1).__getitem__) == ([], [])
    turns.took([run(B, 1)])
    assert turns.change(0.2, READING, ends(b=1).__getitem__) == ([], [A])


def test_nobody_rests_for_those_that_are_at_their_end() -> None:
    turns = Turns(SHARE)
    turns.took([run(A, 5_000)])
    assert turns.change(0.0, READING, ends(a=99).__getitem__) == ([], [])


def test_nobody_rests_for_long_nor_twice_for_offsets_that_bring_nothing() -> None:
    """A partition without a leader, or whose last offset is the marker of a transaction."""
    turns = Turns(SHARE)
    for now in (0.0, 10.0):
        turns.took([run(A, 5_000)])
        assert turns.change(now, READING, ends(b=1).__getitem__) == (([A], []) if now == 0 else ([], []))
        assert turns.change(now + 1, READING, ends(b=1).__getitem__) == (([], [A]) if now == 0 else ([], []))
    turns.took([run(A, 5_000)])
    assert turns.change(20.0, READING, ends(b=2).__getitem__) == ([A], [])


def test_who_is_not_read_any_more_does_not_go_on() -> None:
    turns = Turns(SHARE)
    turns.took([run(A, 5_000)])
    assert turns.change(0.0, READING, ends(b=1).__getitem__) == ([A], [])
    assert turns.change(1.0, {B: 0}, ends(b=1).__getitem__) == ([], [])
