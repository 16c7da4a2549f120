"""One partition of the memory log: records as columns in chunks, handed out as slices."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from flowguard.adapters.memory.ranges import GrowingRanges
from flowguard.domain.batching import cut
from flowguard.domain.ingestion import Headers, RecordRun, TopicPartition, size_of
from flowguard.ports.publisher import NewRecord

CHUNK_RECORDS = 4_096


def size_of_records(records: Sequence[NewRecord]) -> int:
    """Bytes that these take in the log, counted as RecordRun counts them."""
    return size_of([one.value for one in records], [one.key for one in records], [one.headers for one in records])


@dataclass(slots=True)
class _Chunk:
    """Up to CHUNK_RECORDS records, as columns. Readers get copies of slices, so that it may grow under them."""

    offsets: list[int] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)
    has_keys: bool = False
    has_headers: bool = False
    size_bytes: int = 0

    def run(self, place: TopicPartition, start: int, stop: int) -> RecordRun:
        return RecordRun(
            place,
            self.offsets[start:stop],
            self.values[start:stop],
            self.timestamps_ms[start:stop],
            self.keys[start:stop] if self.has_keys else None,
            self.headers[start:stop] if self.has_headers else None,
            self.size_bytes if stop - start == len(self.offsets) else -1,
        )

    def drop_first(self, count: int) -> int:
        """Forget the oldest records; returns the bytes that they held."""
        freed = size_of(self.values[:count], self.keys[:count], self.headers[:count])
        self.size_bytes -= freed
        for column in (self.offsets, self.values, self.timestamps_ms, self.keys, self.headers):
            del column[:count]
        return freed


class PartitionLog:
    """The records of one partition. `earliest` and `next_offset` bound what can be read. Not thread-safe by itself."""

    def __init__(self, place: TopicPartition) -> None:
        self.place = place
        self.earliest = 0
        self.next_offset = 0
        self.held = GrowingRanges()
        self._chunks: list[_Chunk] = []

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest record was logged; None where there is none."""
        return self._chunks[0].timestamps_ms[0] if self._chunks else None

    def append(self, records: Sequence[NewRecord], now_ms: int) -> None:
        start = 0
        while start < len(records):
            if not self._chunks or len(self._chunks[-1].offsets) >= CHUNK_RECORDS:
                self._chunks.append(_Chunk())
            chunk = self._chunks[-1]
            some = records[start : start + CHUNK_RECORDS - len(chunk.offsets)]
            offsets = range(self.next_offset, self.next_offset + len(some))
            keys = [record.key for record in some]
            headers = [record.headers for record in some]
            chunk.offsets.extend(offsets)
            chunk.values.extend(record.value for record in some)
            chunk.timestamps_ms.extend([now_ms] * len(some))
            chunk.keys.extend(keys)
            chunk.headers.extend(headers)
            chunk.has_keys = chunk.has_keys or any(key is not None for key in keys)
            chunk.has_headers = chunk.has_headers or any(headers)
            chunk.size_bytes += size_of_records(some)
            self.held.add(offsets)
            self.next_offset += len(some)
            start += len(some)

    def read(self, start: int, stop: int, max_bytes: int) -> list[RecordRun]:
        """Records at offsets in [start, stop): at most `max_bytes` of them, but at least one if there is one."""
        runs: list[RecordRun] = []
        first = bisect_left(self._chunks, start, key=lambda chunk: chunk.offsets[-1])
        for chunk in islice(self._chunks, first, None):
            low = bisect_left(chunk.offsets, start)
            high = bisect_left(chunk.offsets, stop)
            if low >= high or max_bytes <= 0:
                break
            run = chunk.run(self.place, low, high)
            fitting, rest = cut(run, max_bytes, least=0 if runs else 1)
            if fitting is not None:
                runs.append(fitting)
                max_bytes -= fitting.size_bytes
            if rest is not None:
                break
        return runs

    def drop_chunk(self, before: int) -> int:
        """Forget the oldest chunk, up to the offset `before` (not included); returns the bytes that it held."""
        return self.truncate(min(before, self._chunks[0].offsets[-1] + 1)) if self._chunks else 0

    def truncate(self, before: int) -> int:
        """Forget the records at offsets below `before`; returns the bytes that they held."""
        freed = 0
        while self._chunks and self._chunks[0].offsets[0] < before:
            chunk = self._chunks[0]
            freed += chunk.drop_first(bisect_left(chunk.offsets, before))
            if not chunk.offsets:
                del self._chunks[0]
        self.earliest = max(self.earliest, min(before, self.next_offset))
        return freed

    def skip(self, count: int) -> None:
        """Use up offsets without a record, as transactions and compaction do."""
        self.next_offset += count
