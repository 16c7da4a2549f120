"""Offsets as ranges, found in the database: a million offsets come back as a handful of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowguard.domain.audit import OffsetRanges

if TYPE_CHECKING:
    from psycopg import Connection


def offsets_of(connection: Connection[Any], select: str, parameters: Sequence[object]) -> OffsetRanges:
    """The offsets that the query selects as its column `at`, in one statement: of one moment.

    Gaps and islands: a row begins an island where the offset before it is not its neighbour, and so it tells both where
    an island begins and where the last one ended.
    """
    starts = connection.execute(
        f"""
        WITH neighbours AS (SELECT at, lag(at) OVER (ORDER BY at) AS before FROM ({select}) AS found)
        (SELECT at, before FROM neighbours WHERE before IS NULL OR at > before + 1 ORDER BY at)
        UNION ALL SELECT NULL, max(at) FROM neighbours
        """,
        parameters,
    ).fetchall()
    *begins, (_, last) = starts
    ends = [*(before for _, before in begins[1:]), last]
    return OffsetRanges((begin, end) for (begin, _), end in zip(begins, ends, strict=False))
