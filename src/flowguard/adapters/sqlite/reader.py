"""Reading batches of the embedded log back as runs of records."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from flowguard.adapters.sqlite.log_format import Body, decode
from flowguard.domain.batching import cut
from flowguard.domain.ingestion import RECORD_OVERHEAD, Headers, RecordRun, TopicPartition

_BATCHES = (
    "SELECT base_offset, last_offset, appended_ms, bytes, body FROM fg_batches"
    " WHERE topic = ? AND partition = ? AND last_offset >= ? AND base_offset <= ? ORDER BY last_offset"
)
NO_LIMIT = 2**62


@dataclass(slots=True)
class _Joined:
    """Adjacent batches, grown into one run."""

    first: int
    next_offset: int
    values: list[bytes] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    keys: list[bytes | None] | None = None
    headers: list[Headers] | None = None

    def add(self, body: Body, last: int, appended_ms: int) -> None:
        held = len(self.values)
        count = len(body.values)
        if body.keys is not None or self.keys is not None:
            self.keys = [None] * held if self.keys is None else self.keys
            self.keys += [None] * count if body.keys is None else body.keys
        if body.headers is not None or self.headers is not None:
            self.headers = [()] * held if self.headers is None else self.headers
            self.headers += [()] * count if body.headers is None else body.headers
        self.values += body.values
        self.timestamps += [appended_ms] * count
        self.next_offset = last + 1

    def run(self, partition: TopicPartition) -> RecordRun:
        offsets = range(self.first, self.next_offset)
        return RecordRun(partition, offsets, self.values, self.timestamps, self.keys, self.headers)


def read(
    connection: sqlite3.Connection,
    topic_row: int,
    partition: TopicPartition,
    first: int,
    last: int,
    budget: int,
) -> tuple[list[RecordRun], RecordRun | None]:
    """Records at offsets from `first` to `last` (inclusive) as (runs within the budget, what was read beyond it).

    The budget counts as RecordRun.size_bytes does; at least one record is within it. Small batches are joined.
    """
    joined: list[_Joined] = []
    left = budget
    rows = connection.execute(_BATCHES, (topic_row, partition.partition, first, last))
    for base, end, appended_ms, size, body in rows:
        count = end - base + 1
        decoded = decode(body, count, f"the batch {partition}-{base}")
        if not joined or joined[-1].next_offset != base:
            joined.append(_Joined(base, base))
        joined[-1].add(decoded, end, appended_ms)
        left -= size + RECORD_OVERHEAD * count
        if left <= 0:
            break
    rows.close()
    runs = [one.run(partition) for one in joined]
    if runs and (runs[0].first_offset < first or runs[-1].next_offset > last + 1):
        runs = [part for run in runs if (part := _clip(run, first, last)) is not None]
    return within(runs, budget)


def within(runs: list[RecordRun], budget: int) -> tuple[list[RecordRun], RecordRun | None]:
    """(what fits, at least one record; the rest of the run that did not fit). Runs after that one are dropped."""
    fitting: list[RecordRun] = []
    for run in runs:
        first, rest = cut(run, budget, least=0 if fitting else 1)
        if first is not None:
            fitting.append(first)
            budget -= first.size_bytes
        if rest is not None:
            return fitting, rest
    return fitting, None


def _clip(run: RecordRun, first: int, last: int) -> RecordRun | None:
    start = max(0, first - run.first_offset)
    stop = min(len(run), last + 1 - run.first_offset)
    if start >= stop:
        return None
    return run if (start, stop) == (0, len(run)) else run.part(start, stop)
