from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.domain.recent_ids import RecentIds, identity


def test_what_was_remembered_is_found() -> None:
    recent = RecentIds(10)
    recent.remember([("a", "t-0-1"), ("b", "t-0-2")])
    assert [recent.find(one) for one in ("a", "b", "c")] == ["t-0-1", "t-0-2", None]


def test_a_capacity_of_nothing_remembers_nothing() -> None:
    recent = RecentIds(0)
    recent.remember([("a", "t-0-1")])
    assert recent.find("a") is None
    with pytest.raises(ValueError, match="capacity"):
        RecentIds(-1)


def test_what_was_found_lately_stays_longer() -> None:
    recent = RecentIds(3)
    recent.remember([("a", "1"), ("b", "2"), ("c", "3")])
    recent.find("a")
    recent.remember([("d", "4")])
    assert [recent.find(one) for one in "abcd"] == ["1", None, "3", "4"]


@given(st.integers(0, 40), st.lists(st.lists(st.integers(0, 99).map(str), max_size=60), max_size=12))
def test_it_never_grows_past_its_capacity_and_forgets_the_oldest_first(capacity: int, batches: list[list[str]]) -> None:
    recent = RecentIds(capacity)
    used: list[str] = []  # the last one used comes last
    for batch in batches:
        new = [one for one in dict.fromkeys(batch) if recent.find(one) is None]
        recent.remember((one, one) for one in new)
        touched = [one for one in dict.fromkeys(batch) if one not in new] + new
        used = [one for one in used if one not in touched] + touched
        assert len(recent) <= capacity
        least = min(capacity - capacity // 16, len(used))
        assert all(one in recent._ids for one in used[len(used) - least :])


def test_two_identities_never_look_alike() -> None:
    assert (
        len({identity("a", "b", "c"), identity("ab", "", "c"), identity("a", "bc", ""), identity("", "ab", "c")}) == 4
    )
