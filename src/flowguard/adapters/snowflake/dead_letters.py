"""Dead letters in tables: one shape for all event types, a table for each.

Snowflake keeps no UNIQUE, and it is not known from an account whether a MERGE that has waited for its lock looks at the
rows as they are then. So who writes letters changes the one row of FG_DEAD_LETTER_TURN first, and waits for others.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from flowguard.adapters.snowflake.database import QUERY_TIMEOUT_S, TIMEOUT_S, Database
from flowguard.adapters.snowflake.documents import encoded
from flowguard.adapters.snowflake.feeding import fed, is_large
from flowguard.adapters.snowflake.ledger import offsets_of
from flowguard.adapters.snowflake.tables import quoted
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.catalog import EventType
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.errors import ConfigurationError, PermanentError
from flowguard.domain.ingestion import Headers, IngestionId, TopicPartition
from flowguard.ports.dead_letters import DeadLetterQueue, State, StoredDeadLetter

# Bytes are kept in base64: every byte comes back, whatever the session makes of BINARY.
_COLUMNS: Final = {
    "TOPIC": "VARCHAR NOT NULL",
    "INCARNATION": "NUMBER(38, 0) NOT NULL",
    "PARTITION": "NUMBER(38, 0) NOT NULL",
    "OFFSET": "NUMBER(38, 0) NOT NULL",
    "REASON": "VARCHAR NOT NULL",
    "ERROR": "VARCHAR NOT NULL",
    "EVENT_ID": "VARCHAR",
    "KEY_BASE64": "VARCHAR",
    "VALUE_BASE64": "VARCHAR NOT NULL",
    "HEADERS": "VARCHAR NOT NULL",
    "TIMESTAMP_MS": "NUMBER(38, 0) NOT NULL",
    "FIRST_SEEN": "TIMESTAMP_TZ NOT NULL",
    "LAST_SEEN": "TIMESTAMP_TZ NOT NULL",
    "ATTEMPTS": "NUMBER(38, 0) NOT NULL",
    "STATE": "VARCHAR NOT NULL",
    "MARKED_AT": "TIMESTAMP_TZ",
}
_TURN: Final = "UPDATE FG_DEAD_LETTER_TURN SET TURN = TURN + 1"
_NAMES: Final = [quoted(name) for name in _COLUMNS]
_PUT: Final = _NAMES[:15]
_PLACE: Final = _NAMES[:4]
_SAME: Final = " AND ".join(f"d.{name} = g.{name}" for name in _PLACE)
_GIVEN: Final = ", ".join(
    f"s.v[{at}]::{kind.removesuffix(' NOT NULL')} AS {quoted(name)}"
    for at, (name, kind) in enumerate([*_COLUMNS.items()][:15])
)
_TAKEN_OVER: Final = ("REASON", "ERROR", "EVENT_ID", "KEY_BASE64", "VALUE_BASE64", "HEADERS", "TIMESTAMP_MS")
_headers: msgspec.json.Decoder[Headers] = msgspec.json.Decoder(Headers)


def letters_table(event_type: EventType) -> str:
    """Where its dead letters rest, as an SQL identifier: CLICKS_DLQ."""
    return quoted(f"{event_type.table}_dlq")


def definition(event_type: EventType) -> str:
    """The statement that makes that table."""
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(_NAMES, _COLUMNS.values(), strict=True))
    return f"CREATE TABLE {letters_table(event_type)} ({columns})"


class SnowflakeDeadLetterQueue(DeadLetterQueue):
    """Keeps dead letters in CLICKS_DLQ, ORDERS_DLQ, ... of one schema, for the event types that are given."""

    def __init__(
        self,
        url: str,
        event_types: Iterable[EventType],
        *,
        timeout_s: float = TIMEOUT_S,
        query_timeout_s: float = QUERY_TIMEOUT_S,
        lock_timeout_s: float | None = None,
    ) -> None:
        self._database = Database(
            url, timeout_s=timeout_s, query_timeout_s=query_timeout_s, lock_timeout_s=lock_timeout_s
        )
        self._tables = {one.topic: letters_table(one) for one in event_types}

    @property
    def statements(self) -> int:
        """How many were sent to Snowflake: each is a round trip."""
        return self._database.statements

    def put(self, letters: Sequence[DeadLetter], now: datetime) -> None:
        if not letters:
            return
        by_table: dict[str, dict[IngestionId, tuple[DeadLetter, int]]] = {}
        for letter in letters:
            topic = letter.ingestion_id.topic
            if topic not in self._tables:
                raise ConfigurationError(
                    f"{self._database.where}: there is no table for the dead letters of {topic}: no event type of the"
                    " catalog has this topic; add one, and run `flowguard migrate`"
                )
            some = by_table.setdefault(self._tables[topic], {})
            _, times = some.get(letter.ingestion_id, (letter, 0))
            some[letter.ingestion_id] = letter, times + 1
        documents = {
            table: [_document(letter, times, now) for letter, times in some.values()]
            for table, some in by_table.items()
        }
        try:
            self._put(documents)
        except PermanentError as error:  # nothing is left to do with it here, and it must not be lost
            raise ConfigurationError(
                f"{self._database.where}: it does not take these dead letters ({error}):"
                " name another queue for them (FLOWGUARD_DEAD_LETTER_URL)"
            ) from error

    def page(
        self, *, topic: str | None = None, reason: Reason | None = None, state: State | None = None,
        limit: int = 100, after: IngestionId | None = None,
    ) -> Sequence[StoredDeadLetter]:  # fmt: skip
        wanted: list[tuple[str, Sequence[object]]] = [
            (f"{name} = ?", (value,))
            for name, value in (("TOPIC", topic), ("REASON", reason), ("STATE", state))
            if value is not None
        ]
        if after is not None:
            wanted.append(_past(after))
        where = f"WHERE {' AND '.join(condition for condition, _ in wanted)}" if wanted else ""
        values = [str(value) if isinstance(value, str) else value for _, some in wanted for value in some]
        names, order = ", ".join(_PUT), ", ".join(_PLACE)
        with self._database.transaction() as session:
            found = session.rows(
                f"SELECT {names} FROM ({self._all(names, where)}) ORDER BY {order} LIMIT {max(limit, 0)}",
                *values * len(self._distinct()),
            )
        return [_loaded(row) for row in found]

    def mark(self, ids: Sequence[IngestionId], state: State, now: datetime) -> int:
        if not ids:
            return 0
        documents = [encoded(tuple(one)) for one in set(ids)]
        known = {one.topic for one in ids} <= self._tables.keys()
        tables = {self._tables[one.topic] for one in ids} if known else self._distinct()
        changed = 0
        with self._database.transaction(staged=is_large(documents)) as session:
            for table in sorted(tables):
                with fed(session, documents) as feed:
                    changed += session.change(
                        f"UPDATE {table} AS d SET STATE = ?, MARKED_AT = CAST(? AS TIMESTAMP_TZ) FROM"
                        f" (SELECT {_GIVEN.split(', s.v[4]')[0]} FROM {feed.source}) AS g WHERE {_SAME}",
                        str(state),
                        now.isoformat(),
                        *feed.binds,
                    )
        return changed

    def offsets(self, partition: TopicPartition, incarnation: int) -> OffsetRanges:
        where = "WHERE TOPIC = ? AND PARTITION = ? AND INCARNATION = ?"
        with self._database.transaction() as session:
            return offsets_of(
                session,
                f'SELECT DISTINCT "OFFSET" AS AT_OFFSET FROM ({self._all(_PLACE[3], where)})',
                [*partition, incarnation] * len(self._distinct()),
            )

    def close(self) -> None:
        self._database.close()

    def _put(self, documents: Mapping[str, Sequence[bytes]]) -> None:
        with self._database.transaction(staged=any(map(is_large, documents.values()))) as session:
            session.change(_TURN)
            for table, some in sorted(documents.items()):
                with fed(session, some) as feed:
                    session.change(_merge(table, feed.source), *feed.binds)

    def _distinct(self) -> list[str]:
        return sorted(set(self._tables.values()))

    def _all(self, names: str, where: str) -> str:
        return " UNION ALL ".join(f"SELECT {names} FROM {table} {where}" for table in self._distinct())


def _merge(table: str, source: str) -> str:
    taken_over = ", ".join(f"{name} = g.{name}" for name in map(quoted, _TAKEN_OVER))
    return (
        f"MERGE INTO {table} AS d USING (SELECT {_GIVEN} FROM {source}) AS g ON {_SAME}"
        f" WHEN MATCHED THEN UPDATE SET {taken_over}, ATTEMPTS = d.ATTEMPTS + g.ATTEMPTS, LAST_SEEN = g.LAST_SEEN"
        f" WHEN NOT MATCHED THEN INSERT ({', '.join(_PUT)}) VALUES ({', '.join(f'g.{name}' for name in _PUT)})"
    )


def _past(place: IngestionId) -> tuple[str, Sequence[object]]:
    """A condition for what comes after a place, and its values."""
    condition, values = "1 = 0", list[object]()
    for name, value in reversed([*zip(_PLACE, place, strict=True)]):
        condition, values = f"({name} > ? OR ({name} = ? AND {condition}))", [value, value, *values]
    return condition, values


def _document(letter: DeadLetter, times: int, now: datetime) -> bytes:
    headers = msgspec.json.encode(letter.headers).decode()
    return encoded((
        *letter.ingestion_id, str(letter.reason), _text(letter.error),
        None if letter.event_id is None else _text(letter.event_id),
        None if letter.key is None else base64.b64encode(letter.key).decode(),
        base64.b64encode(letter.value).decode(), headers, letter.timestamp_ms,
        now.isoformat(), now.isoformat(), times, str(State.OPEN),
    ))  # fmt: skip


def _text(text: str) -> str:
    """An error may quote what is no text here; the letter is kept all the same, and its value has the bytes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _loaded(row: Sequence[Any]) -> StoredDeadLetter:
    *place, reason, error, event_id, key, value, headers, timestamp_ms, first_seen, last_seen, attempts, state = row
    letter = DeadLetter(
        IngestionId(place[0], *map(int, place[1:])),
        Reason(reason),
        error,
        None if key is None else base64.b64decode(key),
        base64.b64decode(value),
        _headers.decode(headers),
        int(timestamp_ms),
        event_id,
    )
    first, last = first_seen.astimezone(UTC), last_seen.astimezone(UTC)  # the offset of who put it is kept with them
    return StoredDeadLetter(letter, int(attempts), first, last, State(state))
