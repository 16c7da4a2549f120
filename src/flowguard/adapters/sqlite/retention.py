"""Retention by size: what every group has consumed goes, oldest first; what none has, stays."""

from __future__ import annotations

import sqlite3

from flowguard.domain.errors import BackpressureError

_SPARE = 64
"""One part in so many is freed beyond what is needed, so that not every append has to free something."""

# CROSS JOIN is how sqlite is told to go through the batches in their order, and to stop when that is enough.
_CONSUMED = """
SELECT b.seq, b.bytes FROM fg_batches b CROSS JOIN (
  SELECT topic, partition, min(coalesce(next_offset, 0)) AS floor FROM fg_group_offsets GROUP BY topic, partition
) consumed ON consumed.topic = b.topic AND consumed.partition = b.partition
WHERE b.last_offset < consumed.floor ORDER BY b.seq
"""

_SLOWEST = """
SELECT o.group_name, t.name, o.partition, coalesce(o.next_offset, 0)
FROM fg_group_offsets o JOIN fg_topics t ON t.id = o.topic
JOIN fg_partitions p ON p.topic = o.topic AND p.partition = o.partition
WHERE coalesce(o.next_offset, 0) < p.next_offset
ORDER BY p.next_offset - coalesce(o.next_offset, 0) DESC LIMIT 1
"""


def make_room(connection: sqlite3.Connection, kept_bytes: int, new_bytes: int, max_bytes: int) -> int:
    """Remove consumed batches, oldest first, until the new bytes fit; returns how many bytes went.

    Runs in the caller's write transaction. Raises BackpressureError where what is not consumed fills the log.
    """
    excess = kept_bytes + new_bytes - max_bytes
    if excess <= 0:
        return 0
    freed = last = 0
    for seq, size in connection.execute(_CONSUMED):
        freed += size
        last = seq
        if freed >= excess + max_bytes // _SPARE:
            break
    if freed < excess:
        raise BackpressureError(_why(connection, max_bytes))
    connection.execute(f"DELETE FROM fg_batches WHERE seq IN (SELECT seq FROM ({_CONSUMED}) WHERE seq <= ?)", (last,))
    return freed


def _why(connection: sqlite3.Connection, max_bytes: int) -> str:
    full = f"the log is full ({max_bytes:,} bytes of events that are not consumed yet)"
    mend = "let the consumer catch up, or raise FLOWGUARD_LOG_MAX_BYTES"
    slowest = connection.execute(_SLOWEST).fetchone()
    if slowest is None:
        return f"{full}, and no consumer group has read it: start the consumer, or raise FLOWGUARD_LOG_MAX_BYTES"
    group, topic, partition, next_offset = slowest
    return f"{full}: group {group} stands at {topic}-{partition}-{next_offset}; {mend}"
