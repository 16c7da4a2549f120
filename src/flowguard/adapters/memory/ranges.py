"""Sets of offsets that grow at their end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowguard.domain.audit import OffsetRanges


class GrowingRanges:
    """A mutable set of offsets. Adding past the end costs one step a run, anything else a merge of it all."""

    __slots__ = ("_ranges",)

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def add(self, offsets: Sequence[int]) -> None:
        """Add offsets, which rise."""
        if not offsets:
            return
        first, last = offsets[0], offsets[-1]
        contiguous = last - first + 1 == len(offsets)
        self.extend(((first, last),) if contiguous else OffsetRanges.of(offsets))

    def extend(self, runs: Iterable[tuple[int, int]]) -> None:
        """Add inclusive ranges, which rise and are disjoint."""
        ranges = self._ranges
        for first, last in runs:
            if ranges and first <= ranges[-1][1]:
                ranges[:] = OffsetRanges((*ranges, (first, last)))
            elif ranges and first == ranges[-1][1] + 1:
                ranges[-1] = (ranges[-1][0], last)
            else:
                ranges.append((first, last))

    def frozen(self) -> OffsetRanges:
        return OffsetRanges(self._ranges)
