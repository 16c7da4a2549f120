"""Offsets as ranges, found in the database: a million offsets come back as a handful of rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from flowguard.adapters.sqlite.database import Value
from flowguard.domain.audit import OffsetRanges


def offsets_of(connection: sqlite3.Connection, select: str, parameters: Sequence[Value]) -> OffsetRanges:
    """The offsets that the query selects as its column `at`.

    Gaps and islands: a row begins an island where the offset before it is not its neighbour, and so it tells both where
    an island begins and where the last one ended.
    """
    starts = connection.execute(
        f"SELECT at, before FROM (SELECT at, lag(at) OVER (ORDER BY at) AS before FROM ({select}))"
        " WHERE before IS NULL OR at > before + 1 ORDER BY at",
        parameters,
    ).fetchall()
    if not starts:
        return OffsetRanges()
    (last,) = connection.execute(f"SELECT max(at) FROM ({select})", parameters).fetchone()
    ends = [before for _, before in starts[1:]] + [last]
    return OffsetRanges((start, end) for (start, _), end in zip(starts, ends, strict=True))
