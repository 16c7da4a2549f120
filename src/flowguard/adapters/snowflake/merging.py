"""Rows into a bronze table: without looking where all of them are new, past those that exist where they may not be.

Snowflake keeps no UNIQUE. That nothing lands twice follows from two things: writers take turns (see `positions`), and
what is at a position that stands as expected was never written. Events that a producer has sent again are at new
offsets: they are looked for in what landed lately.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from flowguard.adapters.snowflake.database import Session
from flowguard.adapters.snowflake.documents import Piece, encoded
from flowguard.adapters.snowflake.feeding import fed
from flowguard.adapters.snowflake.places import NOT_FILLED
from flowguard.adapters.snowflake.tables import LANDED_AT, BronzeTable, literal
from flowguard.domain.errors import TransientError
from flowguard.domain.ingestion import IngestionId
from flowguard.domain.rows import Filtered, Merged

_ABSORB: Final = """
    INSERT INTO FG_ABSORBED (EVENT_TYPE, TOPIC, INCARNATION, PARTITION, "OFFSET", KIND, FIRST_INGESTION_ID)
    SELECT s.v[0]::VARCHAR, s.v[1]::VARCHAR, s.v[2]::NUMBER(38, 0), s.v[3]::NUMBER(38, 0), s.v[4]::NUMBER(38, 0),
      s.v[5]::VARCHAR, s.v[6]::VARCHAR
    FROM {} LEFT JOIN FG_ABSORBED AS a ON a.EVENT_TYPE = s.v[0]::VARCHAR AND a.TOPIC = s.v[1]::VARCHAR
      AND a.INCARNATION = s.v[2]::NUMBER(38, 0) AND a.PARTITION = s.v[3]::NUMBER(38, 0)
      AND a."OFFSET" = s.v[4]::NUMBER(38, 0)
    WHERE a.TOPIC IS NULL
"""
_SOURCE: Final = "SOURCE_TOPIC, SOURCE_INCARNATION, SOURCE_PARTITION, SOURCE_OFFSET"
_NOW: Final = "DATEADD(MICROSECOND, s.v[0]::NUMBER(38, 0), CURRENT_TIMESTAMP())"
"""One row after the other, so that the order in which they were logged can be told."""
Absorbed = tuple[str, str, int, int, int, str, str | None]
"""A row of FG_ABSORBED. Kind `relayed`: a row landed from there under the id of another place."""


@dataclass(slots=True)
class Outcome:
    """What becomes of the rows of a piece, by their numbers."""

    lands: list[int] = field(default_factory=list)
    relayed: list[int] = field(default_factory=list)
    """Of those that land: under the id of another place."""
    absorbed: list[Absorbed] = field(default_factory=list)


def insert(session: Session, table: BronzeTable, documents: Sequence[bytes], since_days: float) -> int:
    """Insert all but the events that landed within so many days; how many went in."""
    service, event = (f"s.v[{table.at(name)}]::VARCHAR" for name in ("producer_service", "event_id"))
    with fed(session, documents) as feed:
        return session.change(
            f"INSERT INTO {table.name} ({table.names}, {LANDED_AT}) SELECT {table.selected}, {_NOW}"
            f" FROM {feed.source} LEFT JOIN {_lately(table, since_days)} AS t"
            f" ON t.PRODUCER_SERVICE = {service} AND t.EVENT_ID = {event} WHERE t.EVENT_ID IS NULL",
            *feed.binds,
        )


def merge(session: Session, piece: Piece, since_days: float) -> tuple[Merged, Outcome]:
    """Insert the rows that do not exist, the first of each first. The others are in the outcome, to be remembered."""
    outcome = _resolved(session, piece, since_days)
    inserted = 0
    if outcome.lands:
        table = piece.table
        with fed(session, piece.only(outcome.lands)) as feed:
            inserted = session.change(
                f"INSERT INTO {table.name} ({table.names}, {LANDED_AT}) SELECT {table.selected}, {_NOW}"
                f" FROM {feed.source}",
                *feed.binds,
            )
        if inserted != len(outcome.lands):
            raise TransientError(
                f"{inserted} rows went into {piece.table.name} of {len(outcome.lands)}; all are undone"
            )
    return Merged(len(outcome.lands), len(piece) - len(outcome.lands)), outcome


def remember(session: Session, absorbed: Sequence[Absorbed], filtered: Iterable[Filtered] = ()) -> None:
    """Note the source positions that were resolved without a row of their own; each once."""
    rows = {row[:5]: row for row in reversed(absorbed)}
    for one in filtered:
        for offset in one.offsets:
            place = (one.event_type.name, one.partition.topic, one.incarnation, one.partition.partition, offset)
            rows.setdefault(place, (*place, "filtered", None))
    if rows:
        with fed(session, [encoded(row) for row in rows.values()]) as feed:
            session.change(_ABSORB.format(feed.source), *feed.binds)


def _resolved(session: Session, piece: Piece, since_days: float) -> Outcome:
    """Which rows exist, told by the table, and among themselves."""
    by_id, by_key = _found(session, piece, since_days)
    outcome, name = Outcome(), piece.table.event_type.name
    seen: dict[str, IngestionId] = {}
    events: dict[tuple[str, str], str] = {}
    for number, (place, id_, key) in enumerate(zip(piece.places, piece.ids, piece.keys, strict=True)):
        at = by_id.get(number) or seen.get(id_)
        first = id_ if at is not None else by_key.get(number) or events.get(key)
        if first is None:
            outcome.lands.append(number)
            seen[id_], events[key] = place, id_
            if id_ != str(place):
                outcome.relayed.append(number)
                outcome.absorbed.append((name, *place, "relayed", id_))
        elif at != place:
            outcome.absorbed.append((name, *place, "duplicate", first))
    return outcome


def _found(session: Session, piece: Piece, since_days: float) -> tuple[dict[int, IngestionId], dict[int, str]]:
    """By number: where the row with the same ingestion id came from; the ingestion id of the row of the same event."""
    table = piece.table
    documents = [
        encoded((number, id_, *key)) for number, (id_, key) in enumerate(zip(piece.ids, piece.keys, strict=True))
    ]
    with fed(session, documents) as feed:
        rows = session.rows(
            f"WITH s AS (SELECT s.v[0]::NUMBER(38, 0) AS N, s.v[1]::VARCHAR AS ID, s.v[2]::VARCHAR AS SERVICE,"
            f" s.v[3]::VARCHAR AS EVENT FROM {feed.source})"
            f" SELECT s.N, 1, {_SOURCE}, t.INGESTION_ID FROM s"
            f" JOIN (SELECT INGESTION_ID, {_SOURCE} FROM {table.name} WHERE {_range(piece)}) AS t"
            " ON t.INGESTION_ID = s.ID"
            ' UNION ALL SELECT s.N, 1, a.TOPIC, a.INCARNATION, a.PARTITION, a."OFFSET", a.FIRST_INGESTION_ID FROM s'
            " JOIN FG_ABSORBED AS a ON a.KIND = 'relayed' AND a.EVENT_TYPE = ? AND a.FIRST_INGESTION_ID = s.ID"
            f" UNION ALL SELECT s.N, 0, {_SOURCE}, t.INGESTION_ID FROM s"
            f" JOIN {_lately(table, since_days)} AS t ON t.PRODUCER_SERVICE = s.SERVICE AND t.EVENT_ID = s.EVENT",
            *feed.binds,
            table.event_type.name,
        )
    by_id = {
        # A row from before FlowGuard may have no place yet but the one that its id tells.
        number: IngestionId.parse(first) if None in place else IngestionId(*place)
        for number, same, *place, first in rows
        if same
    }
    return by_id, {number: first for number, same, *_, first in rows if not same}


def _lately(table: BronzeTable, since_days: float) -> str:
    """What landed in the last days: rows land in the order of LANDED_AT, so little of a large table is read."""
    seconds = round(since_days * 86_400)
    return (
        f"(SELECT PRODUCER_SERVICE, EVENT_ID, INGESTION_ID, {_SOURCE} FROM {table.name}"
        f" WHERE {LANDED_AT} >= DATEADD(SECOND, -{seconds}, CURRENT_TIMESTAMP()))"
    )


def _range(piece: Piece) -> str:
    """Where rows with these ingestion ids are, if they came from where their ids say."""
    # Apart, because what was relayed may be from long ago: that must not make the range of the others wide.
    own: dict[tuple[str, int, int], list[int]] = {}
    relayed: dict[tuple[str, int, int], list[int]] = {}
    for place, id_ in zip(piece.places, piece.ids, strict=True):
        if id_ == str(place):
            own.setdefault(place[:3], []).append(place.offset)
        else:
            first = IngestionId.parse(id_)
            relayed.setdefault(first[:3], []).append(first.offset)
    runs = [(*place, min(some), max(some)) for found in (own, relayed) for place, some in found.items()]
    # Rows from before FlowGuard have no place as long as nobody has filled it.
    return f"{NOT_FILLED} OR " + " OR ".join(
        f"(SOURCE_TOPIC = {literal(topic)} AND SOURCE_INCARNATION = {number} AND SOURCE_PARTITION = {partition}"
        f" AND SOURCE_OFFSET BETWEEN {low} AND {high})"
        for topic, number, partition, low, high in runs
    )
