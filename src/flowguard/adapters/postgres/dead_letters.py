"""Dead letters in tables: one shape for all event types, a table for each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg import errors

from flowguard.adapters.postgres.database import TIMEOUT_S, Database
from flowguard.adapters.postgres.islands import offsets_of
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.errors import ConfigurationError
from flowguard.domain.ingestion import Headers, IngestionId, TopicPartition
from flowguard.ports.dead_letters import DeadLetterQueue, State, StoredDeadLetter

_PLACE: Final = 'topic, incarnation, partition, "offset"'
_LETTER: Final = f'{_PLACE}, reason, error, event_id, "key", value, headers::text, timestamp_ms, first_seen, last_seen'
_PUT: Final = f"""
    INSERT INTO fg_dead_letters AS d ({_LETTER.replace("::text", "")})
    VALUES ({", ".join(["%s"] * 13)}) ON CONFLICT ({_PLACE}) DO UPDATE SET
      reason = excluded.reason, error = excluded.error, event_id = excluded.event_id, "key" = excluded."key",
      value = excluded.value, headers = excluded.headers, timestamp_ms = excluded.timestamp_ms,
      attempts = d.attempts + 1, last_seen = excluded.last_seen
"""
_MARK: Final = f"""
    UPDATE fg_dead_letters SET state = %s, marked_at = %s WHERE ({_PLACE}) IN (
      SELECT * FROM unnest(%s::text[], %s::int[], %s::int[], %s::bigint[])
    )
"""
_headers: msgspec.json.Decoder[Headers] = msgspec.json.Decoder(Headers)


class PostgresDeadLetterQueue(DeadLetterQueue):
    """Keeps dead letters in `clicks_dlq`, `orders_dlq`, ... of one database, most often the warehouse."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._database = Database(url, timeout_s=timeout_s)

    def put(self, letters: Sequence[DeadLetter], now: datetime) -> None:
        if not letters:
            return
        with self._database.transaction() as connection, connection.cursor() as cursor:
            try:
                cursor.executemany(_PUT, [_stored(letter, now) for letter in letters])
            except errors.CheckViolation as error:
                topics = ", ".join(sorted({letter.ingestion_id.topic for letter in letters}))
                raise ConfigurationError(
                    f"{self._database.where}: there is no table yet for the dead letters of (one of) {topics}: run"
                    " `flowguard migrate`"
                ) from error

    def page(
        self, *, topic: str | None = None, reason: Reason | None = None, state: State | None = None,
        limit: int = 100, after: IngestionId | None = None,
    ) -> Sequence[StoredDeadLetter]:  # fmt: skip
        wanted: list[tuple[str, Sequence[object]]] = [
            (f"{name} = %s", (value,))
            for name, value in (("topic", topic), ("reason", reason), ("state", state))
            if value is not None
        ]
        if after is not None:
            wanted.append((f"({_PLACE}) > (%s, %s, %s, %s)", after))
        where = f"WHERE {' AND '.join(condition for condition, _ in wanted)}" if wanted else ""
        with self._database.transaction() as connection:
            found = connection.execute(
                f"SELECT {_LETTER}, attempts, state FROM fg_dead_letters {where} ORDER BY {_PLACE} LIMIT %s",
                [*(value for _, values in wanted for value in values), max(limit, 0)],
            ).fetchall()
        return [_loaded(row) for row in found]

    def mark(self, ids: Sequence[IngestionId], state: State, now: datetime) -> int:
        if not ids:
            return 0
        columns = [list(column) for column in zip(*ids, strict=True)]
        with self._database.transaction() as connection:
            return connection.execute(_MARK, [state, now, *columns]).rowcount

    def offsets(self, partition: TopicPartition, incarnation: int) -> OffsetRanges:
        with self._database.snapshot() as connection:
            return offsets_of(
                connection,
                'SELECT "offset" AS at FROM fg_dead_letters WHERE topic = %s AND partition = %s AND incarnation = %s',
                (*partition, incarnation),
            )

    def close(self) -> None:
        self._database.close()


def _stored(letter: DeadLetter, now: datetime) -> tuple[object, ...]:
    headers = msgspec.json.encode(letter.headers).decode()
    return (
        *letter.ingestion_id, letter.reason, _text(letter.error),
        None if letter.event_id is None else _text(letter.event_id),
        letter.key, letter.value, headers, letter.timestamp_ms, now, now,
    )  # fmt: skip


def _text(text: str) -> str:
    """An error may quote what is no text here; the letter is kept all the same, and its value has the bytes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _loaded(row: Sequence[Any]) -> StoredDeadLetter:
    *place, reason, error, event_id, key, value, headers, timestamp_ms, first_seen, last_seen, attempts, state = row
    letter = DeadLetter(
        IngestionId(*place), Reason(reason), error, key, value, _headers.decode(headers), timestamp_ms, event_id
    )
    return StoredDeadLetter(letter, attempts, first_seen, last_seen, State(state))
