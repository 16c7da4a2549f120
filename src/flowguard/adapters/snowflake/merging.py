"""Rows into a bronze table: without looking where all of them are new, past those that exist where they may not be.

Snowflake keeps no UNIQUE. That nothing lands twice follows from two things: writers take turns (see `positions`), and
what is at a position that stands as expected was never written. Events that a producer has sent again are at new
offsets: they are looked for in what landed lately.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flowguard.adapters.snowflake.database import Session
from flowguard.adapters.snowflake.documents import Piece, encoded
from flowguard.adapters.snowflake.feeding import fed
from flowguard.adapters.snowflake.places import INCARNATION, NOT_FILLED, OFFSET, PARTITION, TOPIC
from flowguard.adapters.snowflake.tables import LANDED_AT, BronzeTable, literal
from flowguard.domain.rows import Filtered

_NOW: Final = "DATEADD(MICROSECOND, s.v[0]::NUMBER(38, 0), CURRENT_TIMESTAMP())"
"""One row after the other, so that the order in which they were logged can be told."""
_LONGER_DAYS: Final = 1 / 24
"""What was within the window when rows were inserted still is when the others are explained."""
_INTO_ABSORBED: Final = """
    INSERT INTO FG_ABSORBED (EVENT_TYPE, TOPIC, INCARNATION, PARTITION, "OFFSET", KIND, FIRST_INGESTION_ID)
"""
_NOTED: Final = """
    FG_ABSORBED AS a ON a.EVENT_TYPE = s.TYPE AND a.TOPIC = s.T AND a.INCARNATION = s.I AND a.PARTITION = s.P
      AND a."OFFSET" = s.O
"""
_ABSORB: Final = f"""
    {_INTO_ABSORBED} WITH s AS ({{rows}})
    SELECT s.TYPE, s.T, s.I, s.P, s.O, CASE WHEN {{here}} THEN 'relayed' ELSE 'duplicate' END,
      COALESCE(i.ID, k.INGESTION_ID, s.FIRST)
    FROM s LEFT JOIN {{by_id}} AS i ON i.ID = s.ID
    LEFT JOIN {{lately}} AS k ON k.PRODUCER_SERVICE = s.SERVICE AND k.EVENT_ID = s.EVENT
    LEFT JOIN {_NOTED}
    WHERE a.TOPIC IS NULL AND COALESCE(i.ID, k.INGESTION_ID, s.FIRST) IS NOT NULL AND (NOT {{here}} OR s.RELAYED)
    QUALIFY ROW_NUMBER() OVER (PARTITION BY s.N ORDER BY k.INGESTION_ID) = 1
"""
_HERE: Final = "COALESCE(i.T = s.T AND i.I = s.I AND i.P = s.P AND i.O = s.O, FALSE)"
"""Whether the row with that ingestion id came from here."""
_FILTER: Final = f"""
    {_INTO_ABSORBED} WITH s AS (
      SELECT s.v[0]::VARCHAR AS TYPE, s.v[1]::VARCHAR AS T, s.v[2]::NUMBER(38, 0) AS I, s.v[3]::NUMBER(38, 0) AS P,
        s.v[4]::NUMBER(38, 0) AS O
      FROM {{source}})
    SELECT s.TYPE, s.T, s.I, s.P, s.O, 'filtered', NULL FROM s LEFT JOIN {_NOTED} WHERE a.TOPIC IS NULL
"""


def land(session: Session, piece: Piece, since_days: float, *, new: bool) -> int:
    """Insert the rows that do not exist, and note of the others what they are; how many went in.

    `new`: nothing of it was written before, so that only events may be there already that their producer sent again.
    With `since_days` 0, they are not looked for: new rows go in without a look at the table.
    """
    table = piece.table
    service, event, id_ = map(table.typed, ("producer_service", "event_id", "ingestion_id"))
    joins, unless = "", f"{table.first} IS NULL"
    if since_days:
        joins = (
            f" LEFT JOIN {_lately(table, since_days)} AS k ON k.PRODUCER_SERVICE = {service} AND k.EVENT_ID = {event}"
        )
        unless += " AND k.EVENT_ID IS NULL"
    if not new:
        joins += f" LEFT JOIN {_by_id(piece)} AS i ON i.ID = {id_} LEFT JOIN {_absorbed(table)}"
        unless += " AND i.ID IS NULL AND a.TOPIC IS NULL"
    with fed(session, piece.documents) as feed:
        inserted = session.change(
            f"INSERT INTO {table.name} ({table.names}, {LANDED_AT}) SELECT {table.selected}, {_NOW}"
            f" FROM {feed.source}{joins} WHERE {unless}",
            *feed.binds,
        )
        if inserted < len(piece) or piece.relayed:
            session.change(
                _ABSORB.format(
                    rows=_explained(table, feed.source),
                    here=_HERE,
                    by_id=_by_id(piece),
                    lately=_lately(table, since_days + _LONGER_DAYS),
                ),
                *feed.binds,
            )
    return inserted


def remember(session: Session, filtered: Iterable[Filtered]) -> None:
    """Note the source positions that were filtered out; each once."""
    places = {
        (one.event_type.name, one.partition.topic, one.incarnation, one.partition.partition, offset)
        for one in filtered
        for offset in one.offsets
    }
    if places:
        with fed(session, [encoded(place) for place in sorted(places)]) as feed:
            session.change(_FILTER.format(source=feed.source), *feed.binds)


def _explained(table: BronzeTable, source: str) -> str:
    """What of each row tells whether it is there, and which."""
    columns = {
        "ID": "ingestion_id",
        "SERVICE": "producer_service",
        "EVENT": "event_id",
        "T": "source_topic",
        "I": "source_incarnation",
        "P": "source_partition",
        "O": "source_offset",
    }
    values = ", ".join(f"{table.typed(column)} AS {name}" for name, column in columns.items())
    return (
        f"SELECT {literal(table.event_type.name)} AS TYPE, s.v[0]::NUMBER(38, 0) AS N, {values},"
        f" {table.first} AS FIRST, COALESCE({table.relayed}, FALSE) AS RELAYED FROM {source}"
    )


def _absorbed(table: BronzeTable) -> str:
    """What was recognized once as an event that is there stays so, however long ago that landed."""
    columns = {"TOPIC": "source_topic", "INCARNATION": "source_incarnation", "PARTITION": "source_partition"}
    place = " AND ".join(f"a.{name} = {table.typed(column)}" for name, column in columns.items())
    return (
        f"FG_ABSORBED AS a ON a.KIND = 'duplicate' AND a.EVENT_TYPE = {literal(table.event_type.name)}"
        f' AND {place} AND a."OFFSET" = {table.typed("source_offset")}'
    )


def _by_id(piece: Piece) -> str:
    """Ingestion ids that have a row, and where each came from."""
    return (
        f"(SELECT INGESTION_ID AS ID, {TOPIC} AS T, {INCARNATION} AS I, {PARTITION} AS P, {OFFSET} AS O"
        f" FROM {piece.table.name} WHERE {_range(piece)}"
        ' UNION ALL SELECT FIRST_INGESTION_ID, TOPIC, INCARNATION, PARTITION, "OFFSET" FROM FG_ABSORBED'
        f" WHERE KIND = 'relayed' AND EVENT_TYPE = {literal(piece.table.event_type.name)})"
    )


def _lately(table: BronzeTable, since_days: float) -> str:
    """What landed in the last days: rows land in the order of LANDED_AT, so little of a large table is read."""
    seconds = round(since_days * 86_400)
    return (
        f"(SELECT PRODUCER_SERVICE, EVENT_ID, INGESTION_ID FROM {table.name}"
        f" WHERE {LANDED_AT} >= DATEADD(SECOND, -{seconds}, CURRENT_TIMESTAMP()))"
    )


def _range(piece: Piece) -> str:
    """Where rows with these ingestion ids are: where they stand now, or where their ids say."""
    # Apart, because what was relayed may be from long ago: that must not make the range of the others wide.
    runs: list[tuple[str, int, int, int, int]] = []
    for places in (piece.places, piece.relayed):
        found: dict[tuple[str, int, int], list[int]] = {}
        for place in places:
            found.setdefault(place[:3], []).append(place.offset)
        runs += [(*place, min(offsets), max(offsets)) for place, offsets in found.items()]
    # Rows from before FlowGuard have no place as long as nobody has filled it.
    return f"{NOT_FILLED} OR " + " OR ".join(
        f"(SOURCE_TOPIC = {literal(topic)} AND SOURCE_INCARNATION = {number} AND SOURCE_PARTITION = {partition}"
        f" AND SOURCE_OFFSET BETWEEN {low} AND {high})"
        for topic, number, partition, low, high in runs
    )
