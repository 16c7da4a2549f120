"""Claims, and the compare-and-set of positions that fences whoever lost one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from flowguard.adapters.postgres.tables import literal, quoted
from flowguard.domain.catalog import EventType
from flowguard.domain.errors import ConfigurationError, FencedError
from flowguard.domain.ingestion import Assignment, Claim, TopicPartition
from flowguard.domain.rows import Move

if TYPE_CHECKING:
    from psycopg import Connection

_INCARNATIONS: Final = """
    INSERT INTO fg_incarnations (topic, topic_id, incarnation)
    SELECT %(topic)s, %(topic_id)s, coalesce(max(incarnation), 0) + 1 FROM fg_incarnations WHERE topic = %(topic)s
    HAVING NOT coalesce(bool_or(topic_id = %(topic_id)s), false)
    ON CONFLICT DO NOTHING
"""
_CLAIM: Final = """
    INSERT INTO fg_positions AS p (topic, incarnation, partition, epoch, owner)
    SELECT given.topic, i.incarnation, given.partition, 1, %(owner)s
    FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(topic_ids)s::text[]) AS given (topic, partition, topic_id)
    JOIN fg_incarnations AS i USING (topic, topic_id)
    ORDER BY given.topic, i.incarnation, given.partition
    ON CONFLICT (topic, incarnation, partition) DO UPDATE SET epoch = p.epoch + 1, owner = excluded.owner
    RETURNING topic, partition, incarnation, epoch, next_offset
"""
# A table that was made by FlowGuard has its incarnations beside it.
_FOREIGN: Final = """
    SELECT NOT EXISTS (SELECT FROM fg_incarnations WHERE topic = %s)
      AND EXISTS (SELECT FROM fg_migrations WHERE part = %s AND number = 1 AND name = 'add columns')
      AND EXISTS (SELECT FROM {} WHERE source_topic = %s AND ingestion_id IS NOT NULL)
"""
_MOVE: Final = """
    WITH given AS MATERIALIZED (
      SELECT * FROM unnest(
        %(topics)s::text[], %(incarnations)s::int[], %(partitions)s::int[],
        %(epochs)s::bigint[], %(expected)s::bigint[], %(next_offsets)s::bigint[]
      ) AS given (topic, incarnation, partition, epoch, expected, next_offset)
    ), stood AS MATERIALIZED (
      SELECT p.topic, p.incarnation, p.partition, p.next_offset FROM fg_positions AS p
      JOIN given USING (topic, incarnation, partition)
      WHERE p.epoch = given.epoch AND (given.expected IS NULL OR p.next_offset >= given.expected)
      ORDER BY p.topic, p.incarnation, p.partition FOR UPDATE OF p
    )
    UPDATE fg_positions AS p SET next_offset = greatest(stood.next_offset, given.next_offset)
    FROM given JOIN stood USING (topic, incarnation, partition)
    WHERE (p.topic, p.incarnation, p.partition) = (given.topic, given.incarnation, given.partition)
    RETURNING p.topic, p.partition, p.incarnation, stood.next_offset
"""


def claim(connection: Connection[Any], owner: str, assignments: Sequence[Assignment]) -> list[Claim]:
    """Raise the epoch of each, in the caller's transaction; the claims are in the order of the assignments."""
    for topic, topic_id in sorted({(one.partition.topic, one.topic_id) for one in assignments}):
        connection.execute(_INCARNATIONS, {"topic": topic, "topic_id": topic_id})
    found = connection.execute(
        _CLAIM,
        {
            "owner": owner,
            "topics": [one.partition.topic for one in assignments],
            "partitions": [one.partition.partition for one in assignments],
            "topic_ids": [one.topic_id for one in assignments],
        },
    ).fetchall()
    claims = {
        TopicPartition(topic, partition): Claim(TopicPartition(topic, partition), incarnation, epoch, next_offset)
        for topic, partition, incarnation, epoch, next_offset in found
    }
    return [claims[one.partition] for one in assignments]


def require_known_log(
    connection: Connection[Any], event_types: Iterable[EventType], assignments: Iterable[Assignment]
) -> None:
    """Raise ConfigurationError where rows from before FlowGuard may be of another log than the one that is claimed.

    Their ingestion ids would be those of new events, which would be absorbed as duplicates.
    """
    topic_ids = {one.partition.topic: one.topic_id for one in assignments}
    for event_type in (one for one in event_types if one.topic in topic_ids):
        topic, table = event_type.topic, quoted(event_type.table)
        found = connection.execute(_FOREIGN.format(table), [topic, f"table {event_type.table}", topic]).fetchone()
        if found is not None and found[0]:
            raise ConfigurationError(
                f"table {event_type.table} has rows of {topic} from before FlowGuard: is it the same log that they came"
                " from? If not, new events have to get other ingestion ids. Say it, once:\n"
                f"  another log: INSERT INTO fg_incarnations VALUES ({literal(topic)}, 1, 'before FlowGuard')\n"
                f"  the same:    INSERT INTO fg_incarnations VALUES ({literal(topic)}, 1, {literal(topic_ids[topic])})"
            )


def move(connection: Connection[Any], moves: Sequence[Move]) -> list[int | None]:
    """Move the positions in the caller's transaction, and keep them locked; where each stood before.

    Raises FencedError where another owner claimed since, or where the sink stands behind what this one left.
    """
    if not moves:
        return []
    found = connection.execute(
        _MOVE,
        {
            "topics": [one.claim.partition.topic for one in moves],
            "incarnations": [one.claim.incarnation for one in moves],
            "partitions": [one.claim.partition.partition for one in moves],
            "epochs": [one.claim.epoch for one in moves],
            "expected": [one.expected for one in moves],
            "next_offsets": [one.next_offset for one in moves],
        },
    ).fetchall()
    stood = {(TopicPartition(topic, partition), incarnation): at for topic, partition, incarnation, at in found}
    if fenced := [one.claim.partition for one in moves if (one.claim.partition, one.claim.incarnation) not in stood]:
        raise FencedError(fenced)
    return [stood[one.claim.partition, one.claim.incarnation] for one in moves]
