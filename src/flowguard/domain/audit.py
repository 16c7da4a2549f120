"""Conservation: every offset of the log is landed, dead-lettered, a duplicate, filtered, or still in flight. Once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from flowguard.domain.ingestion import TopicPartition


class OffsetRanges:
    """A set of offsets as sorted, disjoint, non-adjacent inclusive ranges. Immutable."""

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        merged: list[tuple[int, int]] = []
        for first, last in sorted(ranges):
            if last < first:
                raise ValueError(f"the range {first}..{last} is backwards")
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        self._ranges = tuple(merged)

    @classmethod
    def of(cls, offsets: Iterable[int]) -> OffsetRanges:
        return cls((offset, offset) for offset in offsets)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ranges)

    def __len__(self) -> int:
        """How many offsets (not ranges)."""
        return sum(last - first + 1 for first, last in self._ranges)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __contains__(self, offset: int) -> bool:
        return any(first <= offset <= last for first, last in self._ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OffsetRanges) and self._ranges == other._ranges

    def __hash__(self) -> int:
        return hash(self._ranges)

    def __repr__(self) -> str:
        return f"OffsetRanges({list(self._ranges)})"

    def __or__(self, other: OffsetRanges) -> OffsetRanges:
        return OffsetRanges((*self._ranges, *other._ranges))

    def __sub__(self, other: OffsetRanges) -> OffsetRanges:
        left: list[tuple[int, int]] = []
        holes = iter(other._ranges)
        hole = next(holes, None)
        for first, last in self._ranges:
            at = first
            while hole is not None and hole[1] < at:
                hole = next(holes, None)
            while hole is not None and hole[0] <= last:
                if at < hole[0]:
                    left.append((at, hole[0] - 1))
                at = hole[1] + 1
                if hole[1] >= last:
                    break
                hole = next(holes, None)
            if at <= last:
                left.append((at, last))
        return OffsetRanges(left)

    def __and__(self, other: OffsetRanges) -> OffsetRanges:
        return self - (self - other)


@dataclass(frozen=True, slots=True)
class PartitionAccount:
    """One partition of one incarnation, as the log, the sink and the dead-letter queue tell it.

    `logged`: offsets that hold, or held, a record. `position`: the sink's next offset (0 where it has none). `landed`,
    `duplicates`, `filtered`: as the sink recorded them by source position. `doubled`: ids that have more than one row.
    """

    partition: TopicPartition
    incarnation: int
    logged: OffsetRanges
    position: int
    landed: OffsetRanges
    duplicates: OffsetRanges
    filtered: OffsetRanges
    dead_lettered: OffsetRanges
    doubled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets, both inclusive, that the log accepted and that are nowhere."""

    partition: TopicPartition
    incarnation: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class StreamAudit:
    """The sums of one stream. `logged` = landed + dead_lettered + filtered + duplicates + in_flight + missing."""

    logged: int = 0
    landed: int = 0
    dead_lettered: int = 0
    filtered: int = 0
    duplicates: int = 0
    in_flight: int = 0
    missing: tuple[Gap, ...] = field(default=())
    doubled: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        return not self.missing and not self.doubled


def audit(accounts: Iterable[PartitionAccount]) -> StreamAudit:
    """Balance the accounts of one stream. A dead letter that landed after all counts as landed."""
    logged = landed = dead = filtered = duplicates = in_flight = 0
    missing: list[Gap] = []
    doubled: list[str] = []
    for account in accounts:
        rest = account.logged
        logged += len(rest)
        sums = []
        for kind in (account.landed, account.duplicates, account.filtered, account.dead_lettered):
            before = len(rest)
            rest = rest - kind
            sums.append(before - len(rest))
        landed, duplicates, filtered, dead = (
            total + more for total, more in zip((landed, duplicates, filtered, dead), sums, strict=True)
        )
        lost = rest & OffsetRanges([(0, account.position - 1)]) if account.position > 0 else OffsetRanges()
        in_flight += len(rest) - len(lost)
        missing += [Gap(account.partition, account.incarnation, first, last) for first, last in lost]
        doubled += account.doubled
    return StreamAudit(logged, landed, dead, filtered, duplicates, in_flight, tuple(missing), tuple(doubled))
