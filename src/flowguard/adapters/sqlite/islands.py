"""Offsets as ranges, found in the database: a million offsets come back as a handful of rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from flowguard.adapters.sqlite.database import Value
from flowguard.domain.audit import OffsetRanges


def offsets_of(connection: sqlite3.Connection, select: str, parameters: Sequence[Value]) -> OffsetRanges:
    """The offsets that the query selects as its column `at`. Run it in a snapshot: it asks twice.

    Most often there is no gap, and that is quickly counted. Else, gaps and islands: a row begins an island where the
    offset before it is not its neighbour, and so it tells both where an island begins and where the last one ended.
    """
    count, first, last = connection.execute(
        f"SELECT count(DISTINCT at), min(at), max(at) FROM ({select})", parameters
    ).fetchone()
    if not count:
        return OffsetRanges()
    if count == last - first + 1:
        return OffsetRanges([(first, last)])
    starts = connection.execute(
        f"SELECT at, before FROM (SELECT at, lag(at) OVER (ORDER BY at) AS before FROM ({select}))"
        " WHERE before IS NULL OR at > before + 1 ORDER BY at",
        parameters,
    ).fetchall()
    ends = [before for _, before in starts[1:]] + [last]
    return OffsetRanges((start, end) for (start, _), end in zip(starts, ends, strict=True))
