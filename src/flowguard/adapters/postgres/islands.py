"""Offsets as ranges, found in the database: a million offsets come back as a handful of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowguard.domain.audit import OffsetRanges

if TYPE_CHECKING:
    from psycopg import Connection


def offsets_of(connection: Connection[Any], select: str, parameters: Sequence[object]) -> OffsetRanges:
    """The offsets that the query selects as its column `at`. Run it in a snapshot: it asks twice.

    Most often there is no gap, and that is quickly counted. Else, gaps and islands: a row begins an island where the
    offset before it is not its neighbour, and so it tells both where an island begins and where the last one ended.
    """
    counted = connection.execute(
        f"SELECT count(*), min(at), max(at) FROM (SELECT DISTINCT at FROM ({select}) AS found) AS once", parameters
    ).fetchone()
    count, first, last = counted or (0, 0, 0)
    if not count:
        return OffsetRanges()
    if count == last - first + 1:
        return OffsetRanges([(first, last)])
    starts = connection.execute(
        f"SELECT at, before FROM (SELECT at, lag(at) OVER (ORDER BY at) AS before FROM ({select}) AS found) AS pairs"
        " WHERE before IS NULL OR at > before + 1 ORDER BY at",
        parameters,
    ).fetchall()
    ends = [*(before for _, before in starts[1:]), last]
    return OffsetRanges((start, end) for (start, _), end in zip(starts, ends, strict=True))
