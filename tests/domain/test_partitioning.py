"""The same key goes to the same partition, for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.domain.partitioning import partition_of


@pytest.mark.parametrize(
    ("key", "of_3", "of_6", "of_64"),
    [
        (b"", 0, 0, 0),
        (b"s1", 1, 4, 48),
        (b"session-42", 1, 1, 57),
        (b"u1", 2, 2, 54),
        ("é😀".encode(), 0, 0, 6),
        (b"\x00\xff", 1, 4, 50),
    ],
)
def test_keys_go_where_they_have_always_gone(key: bytes, of_3: int, of_6: int, of_64: int) -> None:
    """Were one of these to move, events of one key would stand in two partitions, and lose their order."""
    assert [partition_of(key, partitions) for partitions in (3, 6, 64)] == [of_3, of_6, of_64]


@given(st.binary(max_size=40), st.integers(1, 1_000))
def test_every_key_has_a_partition(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_keys_spread() -> None:
    counts = [0] * 6
    for number in range(6_000):
        counts[partition_of(f"session-{number}".encode(), 6)] += 1
    assert min(counts) > 800
