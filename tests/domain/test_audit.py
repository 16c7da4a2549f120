"""Sets of offsets, and the law of conservation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.domain.audit import Gap, OffsetRanges, PartitionAccount, audit
from flowguard.domain.ingestion import TopicPartition

HERE = TopicPartition("raw.clicks.v1", 0)
OFFSETS = st.sets(st.integers(0, 40))


def ranges(*offsets: int) -> OffsetRanges:
    return OffsetRanges.of(offsets)


def offsets_of(some: OffsetRanges) -> list[int]:
    return [offset for first, last in some for offset in range(first, last + 1)]


@given(st.lists(st.tuples(st.integers(-5, 40), st.integers(0, 9)), max_size=12))
def test_ranges_are_kept_sorted_disjoint_and_as_few_as_can_be(given_: list[tuple[int, int]]) -> None:
    some = OffsetRanges((first, first + more) for first, more in given_)
    wanted = sorted({offset for first, more in given_ for offset in range(first, first + more + 1)})

    assert offsets_of(some) == wanted
    assert all(last + 1 < first for (_, last), (first, _) in zip(some, list(some)[1:], strict=False))
    assert len(some) == len(wanted)
    assert bool(some) == bool(wanted)


@given(OFFSETS, OFFSETS)
def test_they_behave_as_sets_do(one: set[int], other: set[int]) -> None:
    left, right = OffsetRanges.of(one), OffsetRanges.of(other)

    assert left | right == OffsetRanges.of(one | other)
    assert left - right == OffsetRanges.of(one - other)
    assert left & right == OffsetRanges.of(one & other)
    assert (left == right) == (one == other)
    assert hash(left) == hash(OffsetRanges.of(sorted(one)))
    assert all((offset in left) == (offset in one) for offset in range(-1, 42))


def test_a_range_that_is_backwards_is_refused() -> None:
    with pytest.raises(ValueError, match=r"5\.\.3 is backwards"):
        OffsetRanges([(5, 3)])


@st.composite
def accounts(draw: st.DrawFn) -> PartitionAccount:
    """As adversarial as it gets: what landed needs not even be logged, and an offset may count several times."""
    landed, duplicates, filtered, dead = (OffsetRanges.of(draw(OFFSETS)) for _ in range(4))
    return PartitionAccount(
        TopicPartition("raw.clicks.v1", draw(st.integers(0, 3))),
        draw(st.integers(1, 2)),
        OffsetRanges.of(draw(OFFSETS)),
        draw(st.integers(0, 45)),
        landed,
        duplicates,
        filtered,
        dead,
        tuple(draw(st.lists(st.sampled_from(["a", "b"]), max_size=1))),
    )


@given(st.lists(accounts(), max_size=4))
def test_nothing_that_was_logged_is_unaccounted_for(some: list[PartitionAccount]) -> None:
    found = audit(some)

    missing = sum(gap.last - gap.first + 1 for gap in found.missing)
    resolved = found.landed + found.duplicates + found.filtered + found.dead_lettered
    assert found.logged == sum(len(one.logged) for one in some)
    assert found.logged == resolved + found.in_flight + missing
    assert found.ok == (missing == 0 and not any(one.doubled for one in some))


@given(accounts())
def test_missing_is_what_lies_below_the_position_and_is_nowhere(account: PartitionAccount) -> None:
    found = audit([account])

    nowhere = account.logged - (account.landed | account.duplicates | account.filtered | account.dead_lettered)
    lost = [offset for offset in offsets_of(nowhere) if offset < account.position]
    assert [o for gap in found.missing for o in range(gap.first, gap.last + 1)] == lost
    assert found.in_flight == len(nowhere) - len(lost)
    assert all((gap.partition, gap.incarnation) == (account.partition, account.incarnation) for gap in found.missing)


def test_gaps_are_named_as_ranges() -> None:
    account = PartitionAccount(HERE, 2, OffsetRanges([(0, 9)]), 8, ranges(0, 1, 5), ranges(2), ranges(), ranges(6), ())
    found = audit([account])

    assert found.missing == (Gap(HERE, 2, 3, 4), Gap(HERE, 2, 7, 7))
    assert (found.landed, found.duplicates, found.dead_lettered, found.in_flight) == (3, 1, 1, 2)
    assert not found.ok


def test_a_dead_letter_that_landed_after_all_counts_as_landed() -> None:
    found = audit([PartitionAccount(HERE, 1, ranges(0, 1), 2, ranges(0, 1), ranges(), ranges(), ranges(1))])
    assert (found.landed, found.dead_lettered, found.ok) == (2, 0, True)


def test_what_is_doubled_is_named_and_not_ok() -> None:
    empty = OffsetRanges()
    found = audit([PartitionAccount(HERE, 1, ranges(0), 1, ranges(0), empty, empty, empty, ("raw.clicks.v1-0-0",))])
    assert found.doubled == ("raw.clicks.v1-0-0",)
    assert not found.ok


def test_of_nothing_everything_is_accounted_for() -> None:
    assert audit([]).ok
