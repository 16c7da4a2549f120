"""Where an event stands in the log: partitions, positions, ingestion ids, and runs of records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

Headers = tuple[tuple[str, bytes], ...]

INGESTION_ID_HEADER = "fg-ingestion-id"
"""A record that is relayed again (a dead letter) carries its first ingestion id in this header: it lands once."""


class TopicPartition(NamedTuple):
    """One partition of one topic; ordered, hashable."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class IngestionId(NamedTuple):
    """Where the log put an event. Text form: `topic-partition-offset`.

    A topic that was deleted and made again counts its offsets from 0 once more; from its second incarnation on, the
    id says which: `topic@2-partition-offset`.
    """

    topic: str
    incarnation: int
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{ingestion_id_prefix(self.topic, self.incarnation, self.partition)}{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form back. Raises ValueError where it is none."""
        found = _INGESTION_ID.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no ingestion id (expected topic-partition-offset, e.g. raw.clicks.v1-0-237)")
        return cls(found["topic"], int(found["incarnation"] or 1), int(found["partition"]), int(found["offset"]))


_INGESTION_ID = re.compile(
    r"(?P<topic>[A-Za-z0-9._-]+?)(?:@(?P<incarnation>[1-9][0-9]*))?-(?P<partition>[0-9]+)-(?P<offset>[0-9]+)"
)


def ingestion_id_prefix(topic: str, incarnation: int, partition: int) -> str:
    """All of an ingestion id but the offset: made once a run, not once a record."""
    return f"{topic}-{partition}-" if incarnation == 1 else f"{topic}@{incarnation}-{partition}-"


class Position(NamedTuple):
    """Every offset of this partition below `next_offset` is resolved."""

    partition: TopicPartition
    next_offset: int


class Assignment(NamedTuple):
    """A partition that the log gave to this consumer. `topic_id` changes when the topic is made again."""

    partition: TopicPartition
    topic_id: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition as its sink knows it, owned by this writer until a higher epoch is claimed.

    `next_offset` is None where the sink has never seen this partition. `epoch` 0 owns nothing: such a writer moves no
    position and only fills in rows that are missing below it (replay).
    """

    partition: TopicPartition
    incarnation: int
    epoch: int
    next_offset: int | None


@dataclass(frozen=True, slots=True)
class RecordRun:
    """Consecutive records of one partition, as columns: one object a run, none a record.

    `offsets` rise, and need not be contiguous (transactions, compaction). All columns have the same length, at least 1.
    `timestamps_ms` are milliseconds since 1970 UTC, as the log stamped them. `headers` and `keys` may be None where no
    record of the run has any. `size_bytes` is what it holds in memory, about.
    """

    partition: TopicPartition
    offsets: Sequence[int]
    values: Sequence[bytes]
    timestamps_ms: Sequence[int]
    keys: Sequence[bytes | None] | None = None
    headers: Sequence[Headers] | None = None
    size_bytes: int = field(default=-1)

    def __post_init__(self) -> None:
        if not self.offsets or not len(self.offsets) == len(self.values) == len(self.timestamps_ms):
            raise ValueError(f"a run of {self.partition} needs as many offsets as values and timestamps, at least one")
        if self.size_bytes < 0:
            object.__setattr__(self, "size_bytes", size_of(self.values, self.keys, self.headers))

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def first_offset(self) -> int:
        return self.offsets[0]

    @property
    def next_offset(self) -> int:
        """Where a reader goes on after this run; not promised to hold a record."""
        return self.offsets[-1] + 1

    def part(self, start: int, stop: int, size_bytes: int = -1) -> RecordRun:
        """Records `start` to `stop` (indexes, as in a slice). `size_bytes` is theirs, where the caller knows it."""
        return RecordRun(
            self.partition,
            self.offsets[start:stop],
            self.values[start:stop],
            self.timestamps_ms[start:stop],
            None if self.keys is None else self.keys[start:stop],
            None if self.headers is None else self.headers[start:stop],
            size_bytes,
        )

    def sizes(self) -> list[int]:
        """Of each record, what it adds to `size_bytes`."""
        sizes = [len(value) + RECORD_OVERHEAD for value in self.values]
        if self.keys is not None:
            sizes = [
                size + len(key) + KEY_OVERHEAD if key else size for size, key in zip(sizes, self.keys, strict=True)
            ]
        if self.headers is not None:
            sizes = [size + size_of((), None, (some,)) for size, some in zip(sizes, self.headers, strict=True)]
        return sizes

    def key(self, index: int) -> bytes | None:
        return None if self.keys is None else self.keys[index]

    def headers_of(self, index: int) -> Headers:
        return () if self.headers is None else self.headers[index]


RECORD_OVERHEAD = 100
"""Bytes that a record costs in memory beside its value (two objects, list slots), counted so that a flood of tiny
records is bounded too."""
KEY_OVERHEAD = 40
"""Bytes that a key costs beside its own."""
HEADER_OVERHEAD = 150
"""Bytes that one header costs beside its name and value (three objects)."""


def size_of(
    values: Sequence[bytes], keys: Iterable[bytes | None] | None = None, headers: Iterable[Headers] | None = None
) -> int:
    """Bytes that so many records take in memory, about. Quick: it is asked of every run that is read."""
    size = sum(map(len, values)) + RECORD_OVERHEAD * len(values)
    if keys is not None:
        held = [*filter(None, keys)]
        size += sum(map(len, held)) + KEY_OVERHEAD * len(held)
    if headers is not None:
        size += sum(len(name) + len(value) + HEADER_OVERHEAD for some in headers for name, value in some)
    return size
