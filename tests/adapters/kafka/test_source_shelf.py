from __future__ import annotations

from flowguard.adapters.kafka.source_shelf import Shelf
from flowguard.domain.ingestion import RECORD_OVERHEAD, RecordRun, TopicPartition

A, B = (TopicPartition("t", number) for number in range(2))
SIZE = RECORD_OVERHEAD + 10


def run(place: TopicPartition, *offsets: int, size: int = 10) -> RecordRun:
    return RecordRun(place, offsets, [b"x" * size] * len(offsets), [0] * len(offsets))


def taken(shelf: Shelf, budget: int, *places: TopicPartition) -> list[tuple[TopicPartition, list[int]]]:
    return [(one.partition, list(one.offsets)) for one in shelf.take(budget, (places or (A, B)).__contains__)]


def test_what_does_not_fit_stays_for_the_next_time() -> None:
    shelf = Shelf()
    shelf.put([run(A, 1, 2, 3), run(A, 5)])
    assert taken(shelf, 2 * SIZE + 1) == [(A, [1, 2])]
    assert taken(shelf, 2 * SIZE) == [(A, [3]), (A, [5])]
    assert taken(shelf, SIZE) == []


def test_one_record_is_taken_whatever_its_size() -> None:
    shelf = Shelf()
    shelf.put([run(A, 1, 2, size=5_000), run(B, 1)])
    assert taken(shelf, SIZE) == [(A, [1])]
    assert taken(shelf, SIZE) == [(B, [1])]
    assert taken(shelf, SIZE) == [(A, [2])]


def test_the_partition_that_was_served_is_served_last_then() -> None:
    shelf = Shelf()
    shelf.put([run(A, 1, 2, 3), run(B, 1, 2, 3)])
    assert taken(shelf, SIZE) == [(A, [1])]
    assert taken(shelf, SIZE) == [(B, [1])]
    assert taken(shelf, 4 * SIZE) == [(A, [2, 3]), (B, [2, 3])]


def test_only_what_is_wanted_is_taken() -> None:
    shelf = Shelf()
    shelf.put([run(A, 1), run(B, 1)])
    assert taken(shelf, 9 * SIZE, B) == [(B, [1])]
    assert not shelf.holds((B,).__contains__)
    assert shelf.holds((A,).__contains__)
    shelf.drop([A])
    assert taken(shelf, 9 * SIZE) == []
