"""How batches are cut, and how many records go into one."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flowguard.domain.batching import Batch, BatchPolicy, FlowPolicy, cut
from flowguard.domain.buffer import Buffer
from flowguard.domain.ingestion import RECORD_OVERHEAD, Position, RecordRun, TopicPartition

PLACES = [TopicPartition("raw.clicks.v1", number) for number in range(3)]


@st.composite
def runs_in_order(draw: st.DrawFn) -> tuple[RecordRun, ...]:
    """Runs of some partitions, each partition in log order, with holes."""
    ends = dict.fromkeys(PLACES, 0)
    runs = []
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.sampled_from(PLACES))
        offsets = []
        for step in draw(st.lists(st.integers(1, 5), min_size=1, max_size=8)):
            ends[place] += step
            offsets.append(ends[place])
        values = [b"x" * (offset % 40) for offset in offsets]
        runs.append(RecordRun(place, offsets, values, [0] * len(offsets), [b"k"] * len(offsets)))
    return tuple(runs)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    runs = draw(runs_in_order())
    every = sorted(everything(Batch(1, runs)))
    return Batch(1, runs, frozenset(draw(st.lists(st.sampled_from(every), max_size=len(every)))))


def everything(*some: Batch) -> list[tuple[TopicPartition, int]]:
    """All that they resolve, in their order."""
    return [(run.partition, offset) for batch in some for run in batch.runs for offset in run.offsets]


@given(batches())
def test_halves_resolve_the_same_offsets_in_order_and_each_has_something_to_write(batch: Batch) -> None:
    assume(len(batch) >= 2)
    left, right = batch.halves(count(7))

    assert (left.number, right.number) == (7, 8)
    assert everything(left, right) == everything(batch)
    assert left.excluded | right.excluded == batch.excluded
    assert left.excluded <= set(everything(left))
    assert right.excluded <= set(everything(right))
    assert len(left) == len(batch) // 2
    assert len(left) + len(right) == len(batch)
    assert left.size_bytes + right.size_bytes == batch.size_bytes


@given(batches())
def test_halves_of_halves_end_with_single_records(batch: Batch) -> None:
    numbers = count(2)
    todo, singles = [batch], []
    while todo:
        one = todo.pop()
        if len(one) < 2:
            singles.append(one)
        else:
            left, right = one.halves(numbers)
            todo += [right, left]

    assert everything(*singles) == everything(batch)
    assert all(len(one) == 1 for one in singles) or len(batch) == 0


def test_a_batch_of_one_record_cannot_be_cut() -> None:
    run = RecordRun(PLACES[0], [3, 4], [b"", b""], [0, 0])
    with pytest.raises(ValueError, match="cannot be cut"):
        Batch(1, (run,), frozenset({(PLACES[0], 3)})).halves(count())


@given(batches())
def test_positions_stand_behind_the_last_record_of_each_partition(batch: Batch) -> None:
    last = dict(everything(batch))
    assert set(batch.positions) == {Position(place, offset + 1) for place, offset in last.items()}


@given(batches(), st.sets(st.sampled_from(PLACES)))
def test_without_partitions_keeps_all_that_is_of_others(batch: Batch, gone: set[TopicPartition]) -> None:
    left = batch.without_partitions(gone)
    assert everything(left) == [one for one in everything(batch) if one[0] not in gone]
    assert left.excluded == {one for one in batch.excluded if one[0] not in gone}
    assert left.number == batch.number


@given(runs_in_order(), st.integers(0, 20), st.integers(0, 3_000))
def test_a_run_is_cut_behind_the_last_record_that_fits(runs: tuple[RecordRun, ...], records: int, size: int) -> None:
    run = runs[0]
    first, rest = cut(run, size, records)
    fits = 0 if first is None else len(first)

    def size_of(number: int) -> int:
        return run.part(0, number).size_bytes if number else 0

    assert first == (run.part(0, fits) if fits else None)
    assert rest == (run.part(fits, len(run)) if fits < len(run) else None)
    assert fits <= records
    assert size_of(fits) <= size
    assert fits == min(len(run), records) or size_of(fits + 1) > size


@given(runs_in_order())
def test_where_nothing_fits_one_record_can_be_had_all_the_same(runs: tuple[RecordRun, ...]) -> None:
    run = runs[0]
    first, rest = cut(run, 0, least=1)
    assert first == run.part(0, 1)
    assert rest == (run.part(1, len(run)) if len(run) > 1 else None)


@given(runs_in_order(), st.integers(1, 10), st.integers(1, 1_500))
def test_the_buffer_gives_all_that_it_took_in_batches_within_the_policy(
    runs: tuple[RecordRun, ...], records: int, size: int
) -> None:
    buffer = Buffer(BatchPolicy(records, size, 1.0))
    for run in runs:
        buffer.add(run, 5.0)
    numbers = count(1)
    some = []
    while buffer:
        some.append(buffer.compose(next(numbers)))

    assert everything(*some) == everything(Batch(0, runs))
    assert all(0 < len(one) <= records for one in some)
    assert all(one.size_bytes <= size or len(one) == 1 for one in some)
    assert buffer.size_bytes == 0


@given(runs_in_order(), st.sets(st.sampled_from(PLACES)))
def test_the_buffer_forgets_what_is_dropped_and_nothing_else(
    runs: tuple[RecordRun, ...], gone: set[TopicPartition]
) -> None:
    buffer = Buffer(BatchPolicy(1_000, 10**6, 1.0))
    for number, run in enumerate(runs):
        buffer.add(run, float(number))
    buffer.drop(gone)

    kept = [(number, run) for number, run in enumerate(runs) if run.partition not in gone]
    assert buffer.size_bytes == sum(run.size_bytes for _, run in kept)
    assert buffer.due_at == (kept[0][0] + 1.0 if kept else None)


def test_the_buffer_is_due_by_records_by_bytes_or_by_age() -> None:
    def due(policy: BatchPolicy, now: float) -> bool:
        buffer = Buffer(policy)
        assert not buffer.due(1e9)
        buffer.add(RecordRun(PLACES[0], [0, 1], [b"abc", b"abc"], [0, 0]), 10.0)
        return buffer.due(now)

    assert due(BatchPolicy(2, 10**6, 1.0), 10.0)
    assert due(BatchPolicy(100, 2 * (3 + RECORD_OVERHEAD), 1.0), 10.0)
    assert due(BatchPolicy(100, 10**6, 1.0), 11.0)
    assert not due(BatchPolicy(3, 1 + 2 * (3 + RECORD_OVERHEAD), 1.0), 10.99)


@pytest.mark.parametrize(
    "wrong", [{"max_records": 0}, {"max_bytes": 0}, {"max_age_s": -0.1}], ids=lambda wrong: next(iter(wrong))
)
def test_a_batch_policy_without_room_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="BatchPolicy needs max_records >= 1"):
        BatchPolicy(**wrong)


@pytest.mark.parametrize(("high", "low"), [(10, 10), (10, 11), (10, -1)])
def test_a_flow_policy_needs_a_gap(high: int, low: int) -> None:
    with pytest.raises(ValueError, match="0 <= low_bytes < high_bytes"):
        FlowPolicy(high, low)
