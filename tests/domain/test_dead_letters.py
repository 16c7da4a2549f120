"""When so many records are rejected that something else must be broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.domain.dead_letters import DeadLetterPolicy, StormGauge

POLICIES = st.builds(
    DeadLetterPolicy,
    max_consecutive=st.sampled_from([0, 0, 3, 12, 30]),
    max_ratio=st.sampled_from([0.0, 0.1, 0.25, 0.4, 0.5, 0.75, 1.0]),
    window=st.integers(1, 30),
)


def is_storm(policy: DeadLetterPolicy, history: list[bool]) -> bool:
    """What the policy says in words, judged at every rejection. `history`: was it rejected?"""
    for end in range(1, len(history) + 1):
        if not history[end - 1]:
            continue
        seen = history[:end]
        in_a_row = len(seen) - max((index + 1 for index, bad in enumerate(seen) if not bad), default=0)
        if 0 < policy.max_consecutive < in_a_row:
            return True
        last = seen[-policy.window :]
        if policy.max_ratio and len(last) == policy.window and sum(last) > policy.max_ratio * policy.window:
            return True
    return False


@given(POLICIES, st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=8, max_size=30))
def test_the_gauge_says_what_counting_by_hand_says(policy: DeadLetterPolicy, facts: list[tuple[bool, int]]) -> None:
    gauge = StormGauge(policy)
    history: list[bool] = []
    for bad, count in facts:
        (gauge.rejected if bad else gauge.landed)(count)
        history += [bad] * count
        assert (gauge.verdict is not None) == is_storm(policy, history)


def verdicts(policy: DeadLetterPolicy, *facts: tuple[bool, int]) -> list[str | None]:
    """What the gauge says after each of them."""
    gauge = StormGauge(policy)
    said = []
    for bad, count in facts:
        (gauge.rejected if bad else gauge.landed)(count)
        said.append(gauge.verdict)
    return said


def test_the_verdict_tells_the_count_and_the_bound_and_stays() -> None:
    policy = DeadLetterPolicy(max_consecutive=2, max_ratio=0)
    text = "3 records in a row were rejected (allowed: 2)"
    assert verdicts(policy, (True, 2), (True, 1), (False, 1_000)) == [None, text, text]


def test_what_landed_in_between_breaks_the_row() -> None:
    policy = DeadLetterPolicy(max_consecutive=2, max_ratio=0)
    assert verdicts(policy, (True, 2), (False, 1), (True, 2), (False, 0)) == [None] * 4
    assert verdicts(policy, (True, 2), (False, 0), (True, 1))[-1] is not None


def test_the_ratio_is_of_the_last_window_however_much_landed_before() -> None:
    policy = DeadLetterPolicy(max_consecutive=0, max_ratio=0.5, window=10)
    assert verdicts(policy, (False, 1_000_000), (True, 5), (True, 1)) == [
        None,
        None,
        "6 of the last 10 records were rejected (allowed: 50%)",
    ]


@pytest.mark.parametrize(("consecutive", "ratio", "window"), [(-1, 0.5, 10), (1, -0.1, 10), (1, 1.1, 10), (1, 0.5, 0)])
def test_bounds_that_mean_nothing_are_refused(consecutive: int, ratio: float, window: int) -> None:
    with pytest.raises(ValueError, match="DeadLetterPolicy needs"):
        DeadLetterPolicy(consecutive, ratio, window)
