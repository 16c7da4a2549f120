"""Claims, and the compare-and-set of positions that fences whoever lost one.

Snowflake locks a table for an UPDATE until the transaction ends: whoever moves a position has changed FG_POSITIONS
first, so that writers take turns, and each sees all that the one before it committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from flowguard.adapters.snowflake.database import Session
from flowguard.adapters.snowflake.documents import encoded
from flowguard.adapters.snowflake.places import INCARNATION, OFFSET, PARTITION, PLACED, TOPIC
from flowguard.adapters.snowflake.tables import LANDED_AT, literal, table_of
from flowguard.domain.catalog import EventType
from flowguard.domain.errors import ConfigurationError, FencedError
from flowguard.domain.ingestion import Assignment, Claim, TopicPartition
from flowguard.domain.rows import Move

TURN: Final = ""
"""The topic of the row in FG_POSITIONS that is no position: writers that move none change it, to take their turn."""
Place = tuple[str, int, int]
"""Topic, incarnation, partition."""

_GIVEN: Final = "TABLE(FLATTEN(input => PARSE_JSON(?))) AS f"
_KEY: Final = "p.TOPIC = g.T AND p.INCARNATION = g.I AND p.PARTITION = g.P"
_MOVES: Final = f"""
    (SELECT f.value[0]::VARCHAR AS T, f.value[1]::NUMBER(38, 0) AS I, f.value[2]::NUMBER(38, 0) AS P,
      f.value[3]::NUMBER(38, 0) AS E, f.value[4]::NUMBER(38, 0) AS X, f.value[5]::NUMBER(38, 0) AS N
    FROM {_GIVEN}) AS g
"""
_MOVE: Final = f"""
    UPDATE FG_POSITIONS AS p SET NEXT_OFFSET = g.N FROM {_MOVES}
    WHERE {_KEY} AND p.EPOCH = g.E AND p.NEXT_OFFSET IS NOT DISTINCT FROM g.X
      AND (p.AHEAD_TO IS NULL OR p.AHEAD_TO <= COALESCE(g.X, 0))
"""
_ADVANCE: Final = f"""
    UPDATE FG_POSITIONS AS p SET NEXT_OFFSET = GREATEST(COALESCE(p.NEXT_OFFSET, g.N), g.N) FROM {_MOVES}
    WHERE {_KEY} AND p.EPOCH = g.E AND (g.X IS NULL OR p.NEXT_OFFSET >= g.X)
"""
_STOOD: Final = f"""
    SELECT p.TOPIC, p.INCARNATION, p.PARTITION, p.EPOCH, p.NEXT_OFFSET FROM FG_POSITIONS AS p
    JOIN {_MOVES} ON {_KEY}
"""
_KNOWN: Final = f"""
    SELECT i.TOPIC, i.TOPIC_ID, i.INCARNATION FROM FG_INCARNATIONS AS i
    WHERE i.TOPIC IN (SELECT f.value::VARCHAR FROM {_GIVEN})
"""
_NEW_INCARNATIONS: Final = f"""
    INSERT INTO FG_INCARNATIONS (TOPIC, TOPIC_ID, INCARNATION)
    SELECT f.value[0]::VARCHAR, f.value[1]::VARCHAR, f.value[2]::NUMBER(38, 0) FROM {_GIVEN}
"""
_PLACES: Final = f"""
    (SELECT f.value[0]::VARCHAR AS T, f.value[1]::NUMBER(38, 0) AS I, f.value[2]::NUMBER(38, 0) AS P,
      f.value[3]::NUMBER(38, 0) AS A
    FROM {_GIVEN}) AS g
"""
_RAISE: Final = f"UPDATE FG_POSITIONS AS p SET EPOCH = p.EPOCH + 1, OWNER = ? FROM {_PLACES} WHERE {_KEY}"
_BEGIN: Final = f"""
    INSERT INTO FG_POSITIONS (TOPIC, INCARNATION, PARTITION, EPOCH, OWNER, AHEAD_TO)
    SELECT g.T, g.I, g.P, 1, ?, g.A FROM {_PLACES}
"""
_CLAIMED: Final = f"""
    SELECT p.TOPIC, p.INCARNATION, p.PARTITION, p.EPOCH, p.NEXT_OFFSET, p.AHEAD_TO FROM FG_POSITIONS AS p
    JOIN {_PLACES} ON {_KEY}
"""
_TURN: Final = f"""
    UPDATE FG_POSITIONS AS p SET AHEAD_TO = GREATEST(COALESCE(p.AHEAD_TO, g.A), g.A) FROM {_PLACES} WHERE {_KEY}
"""
# The owners of an older making of a topic own nothing any more. One that ended is named until another one claims.
_OTHERS: Final = """
    SELECT COUNT(DISTINCT p.OWNER) FROM FG_POSITIONS AS p
    JOIN (SELECT TOPIC, MAX(INCARNATION) AS I FROM FG_POSITIONS GROUP BY TOPIC) AS c
      ON c.TOPIC = p.TOPIC AND c.I = p.INCARNATION
    WHERE p.TOPIC <> ? AND p.OWNER <> ?
"""
_LAST: Final = f"""
    SELECT {PARTITION}, MAX({OFFSET}) + 1 FROM {{}}
    WHERE {TOPIC} = ? AND {INCARNATION} = ? GROUP BY 1
"""
# The sink says of each row when it landed. A table from before FlowGuard may have such a column of its own.
_FOREIGN: Final = f"""
    SELECT COUNT(*) FROM {{}} WHERE {TOPIC} = ? AND {PLACED} AND ({LANDED_AT} IS NULL OR 0 < (
      SELECT COUNT(*) FROM FG_MIGRATIONS AS m WHERE m.PART = ? AND m.NUMBER = 1 AND m.NAME = 'add columns'
    ))
"""


def take_turn(session: Session, ahead: Mapping[Place, int] | None = None) -> None:
    """Wait for the writers before, and keep others waiting until the transaction ends.

    `ahead`: up to before these offsets, rows may land without a move.
    """
    places = {(TURN, 0, 0): 0, **(ahead or {})}
    if not session.change(_TURN, _document([(*place, end) for place, end in sorted(places.items())])):
        raise ConfigurationError(
            "FG_POSITIONS has not the one row by which writers take turns:"
            " INSERT INTO FG_POSITIONS (TOPIC, INCARNATION, PARTITION, EPOCH, OWNER)"
            f" VALUES ({literal(TURN)}, 0, 0, 0, 'whose turn it is')"
        )


def claim(
    session: Session, owner: str, assignments: Sequence[Assignment], event_types: Mapping[str, EventType]
) -> list[tuple[Claim, int]]:
    """Raise the epoch of each, in the caller's transaction; the claims are in the order of the assignments.

    With each, how far rows may be ahead of its position (0 where none are).

    `event_types` by topic: what a replay, or somebody before FlowGuard, put into their tables ahead of a position is
    remembered with it, as its AHEAD_TO: up to there, nothing is taken for new. Raises ConfigurationError where rows
    from before FlowGuard may be of another log: their ingestion ids would be those of new events.
    """
    take_turn(session)
    incarnations = _incarnations(session, assignments, event_types)
    wanted = [
        (one.partition.topic, incarnations[one.partition.topic, one.topic_id], one.partition.partition)
        for one in assignments
    ]
    given = _document([(*one, None) for one in sorted(set(wanted))])
    session.change(_RAISE, owner, given)
    found = _claimed(session, given)
    if new := sorted(set(wanted) - found.keys()):
        session.change(_BEGIN, owner, _document(_with_last(session, new, event_types)))
        found = _claimed(session, given)
    claims: list[tuple[Claim, int]] = []
    for topic, number, partition in wanted:
        epoch, next_offset, ahead_to = found[topic, number, partition]
        claims.append((Claim(TopicPartition(topic, partition), number, epoch, next_offset), ahead_to or 0))
    return claims


def count_others(session: Session, owner: str) -> int:
    """How many other owners the positions of the schema have."""
    ((others,),) = session.rows(_OTHERS, TURN, owner)
    return int(others)


def move(session: Session, moves: Sequence[Move]) -> bool:
    """Move positions that stand where they are expected, with nothing ahead of them. False where some did not."""
    return session.change(_MOVE, _moves(moves)) == len(moves)


def advance(session: Session, moves: Sequence[Move]) -> None:
    """Move each from where it stands to where it goes, or leave it where that is behind. Raises as `stood`."""
    if session.change(_ADVANCE, _moves(moves)) != len(moves):
        stood(session, moves)
        raise FencedError([one.claim.partition for one in moves])


def stood(session: Session, moves: Sequence[Move]) -> list[int | None]:
    """Where each position stands. FG_POSITIONS has been changed: nobody else moves them.

    Raises FencedError where another owner claimed since, or where the sink stands behind what this one left.
    """
    if not moves:
        return []
    found = {
        (TopicPartition(topic, partition), number): (epoch, at)
        for topic, number, partition, epoch, at in session.rows(_STOOD, _moves(moves))
    }
    places = [found.get((one.claim.partition, one.claim.incarnation)) for one in moves]
    fenced = [
        one.claim.partition
        for one, place in zip(moves, places, strict=True)
        if place is None
        or place[0] != one.claim.epoch
        or (one.expected is not None and (place[1] is None or place[1] < one.expected))
    ]
    if fenced:
        raise FencedError(fenced)
    return [place[1] for place in places if place is not None]


def _incarnations(
    session: Session, assignments: Iterable[Assignment], event_types: Mapping[str, EventType]
) -> dict[tuple[str, str], int]:
    """The number of each making of each topic; a new one gets the next."""
    wanted = sorted({(one.partition.topic, one.topic_id) for one in assignments})
    known = {
        (topic, topic_id): number
        for topic, topic_id, number in session.rows(_KNOWN, _document(sorted({topic for topic, _ in wanted})))
    }
    new: list[tuple[str, str, int]] = []
    for topic, topic_id in wanted:
        if (topic, topic_id) not in known:
            number = 1 + max((number for (name, _), number in known.items() if name == topic), default=0)
            if number == 1 and topic in event_types:
                _require_known_log(session, event_types[topic], topic_id)
            known[topic, topic_id] = number
            new.append((topic, topic_id, number))
    if new:
        session.change(_NEW_INCARNATIONS, _document(new))
    return known


def _require_known_log(session: Session, event_type: EventType, topic_id: str) -> None:
    topic, table = event_type.topic, event_type.table
    ((foreign,),) = session.rows(_FOREIGN.format(table_of(event_type).name), topic, f"table {table}")
    if foreign:
        insert = "INSERT INTO FG_INCARNATIONS (TOPIC, INCARNATION, TOPIC_ID) VALUES"
        raise ConfigurationError(
            f"table {table.upper()} has rows of {topic} from before FlowGuard: is it the same log that they came from?"
            " If not, new events have to get other ingestion ids. Say it, once:\n"
            f"  another log: {insert} ({literal(topic)}, 1, 'before FlowGuard')\n"
            f"  the same:    {insert} ({literal(topic)}, 1, {literal(topic_id)})"
        )


def _claimed(session: Session, given: str) -> dict[Place, Sequence[Any]]:
    return {(topic, number, partition): rest for topic, number, partition, *rest in session.rows(_CLAIMED, given)}


def _with_last(
    session: Session, places: Sequence[Place], event_types: Mapping[str, EventType]
) -> list[tuple[str, int, int, int | None]]:
    last = {
        (topic, number): dict(session.rows(_LAST.format(table_of(event_types[topic]).name), topic, number))
        for topic, number in {(topic, number) for topic, number, _ in places}
        if topic in event_types
    }
    return [
        (topic, number, partition, last.get((topic, number), {}).get(partition)) for topic, number, partition in places
    ]


def _moves(moves: Sequence[Move]) -> str:
    return _document([_move(one) for one in moves])


def _move(move: Move) -> tuple[object, ...]:
    claim = move.claim
    topic, partition = claim.partition
    return topic, claim.incarnation, partition, claim.epoch, move.expected, move.next_offset


def _document(value: Sequence[Any]) -> str:
    return encoded(value).decode()
