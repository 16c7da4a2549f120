"""How long to hold before trying again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.domain.errors import FencedError, RetryPolicy
from flowguard.domain.ingestion import TopicPartition

POLICIES = st.builds(
    lambda initial_s, factor, more: RetryPolicy(initial_s, factor, initial_s + more),
    st.floats(1e-6, 1e3),
    st.floats(1, 1e300),
    st.floats(0, 1e6),
)
ATTEMPTS = st.integers(0, 10**6)


@given(POLICIES, ATTEMPTS, st.floats(0, 1))
def test_the_delay_is_full_jitter_under_a_ceiling_that_grows_to_the_cap(
    policy: RetryPolicy, attempt: int, jitter: float
) -> None:
    ceiling = policy.delay_s(attempt, 1.0)

    assert policy.initial_s <= ceiling <= policy.cap_s
    assert ceiling <= policy.delay_s(attempt + 1, 1.0)
    assert policy.delay_s(attempt, 0.0) == 0.0
    assert policy.delay_s(attempt, jitter) == ceiling * jitter


def test_delays_double_from_the_first_failure_on() -> None:
    policy = RetryPolicy(initial_s=0.5, factor=2.0, cap_s=3.0)
    assert [policy.delay_s(attempt, 1.0) for attempt in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_an_outage_of_weeks_does_not_overflow() -> None:
    assert RetryPolicy().delay_s(10**9, 1.0) == 30.0
    assert RetryPolicy(factor=1e300).delay_s(2, 1.0) == 30.0


@pytest.mark.parametrize(
    ("initial_s", "factor", "cap_s"), [(0.0, 2.0, 1.0), (2.0, 2.0, 1.0), (1.0, 0.9, 2.0), (1.0, float("nan"), 2.0)]
)
def test_a_policy_that_would_never_wait_or_wait_less_and_less_is_refused(
    initial_s: float, factor: float, cap_s: float
) -> None:
    with pytest.raises(ValueError, match="0 < initial_s <= cap_s"):
        RetryPolicy(initial_s, factor, cap_s)


def test_a_fenced_error_names_the_partitions() -> None:
    error = FencedError([TopicPartition("raw.clicks.v1", 3)])
    assert error.partitions == (("raw.clicks.v1", 3),)
    assert "raw.clicks.v1-3" in str(error)
