"""Dead letters in a table of their own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from flowguard.adapters.sqlite.database import BUSY_TIMEOUT_S, Database, Value
from flowguard.adapters.sqlite.islands import offsets_of
from flowguard.adapters.sqlite.merging import chunks
from flowguard.adapters.sqlite.tables import timestamp_text
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.ingestion import Headers, IngestionId, TopicPartition
from flowguard.ports.dead_letters import DeadLetterQueue, State, StoredDeadLetter

_PLACE = 'topic, incarnation, partition, "offset"'
_LETTER = f'{_PLACE}, reason, error, event_id, "key", value, headers, timestamp_ms, first_seen, last_seen'
_WIDTH = 13
_headers: msgspec.json.Decoder[Headers] = msgspec.json.Decoder(Headers)


class SqliteDeadLetterQueue(DeadLetterQueue):
    """Keeps dead letters in one file, of their own or the warehouse's."""

    def __init__(self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._database = Database(path, busy_timeout_s=busy_timeout_s)

    def put(self, letters: Sequence[DeadLetter], now: datetime) -> None:
        values_of_all = [value for letter in letters for value in _stored(letter, timestamp_text(now))]
        with self._database.transaction() as connection:
            for rows, piece in chunks(values_of_all, _WIDTH):
                values = ", ".join([f"({', '.join('?' * _WIDTH)})"] * rows)
                connection.execute(
                    f"INSERT INTO fg_dead_letters ({_LETTER}) VALUES {values} ON CONFLICT DO UPDATE SET"
                    " reason = excluded.reason, error = excluded.error, event_id = excluded.event_id,"
                    ' "key" = excluded."key", value = excluded.value, headers = excluded.headers,'
                    " timestamp_ms = excluded.timestamp_ms, attempts = attempts + 1, last_seen = excluded.last_seen",
                    piece,
                )

    def page(
        self, *, topic: str | None = None, reason: Reason | None = None, state: State | None = None,
        limit: int = 100, after: IngestionId | None = None,
    ) -> Sequence[StoredDeadLetter]:  # fmt: skip
        wanted: list[tuple[str, Sequence[Value]]] = [
            (f"{name} = ?", (value,))
            for name, value in (("topic", topic), ("reason", reason), ("state", state))
            if value is not None
        ]
        if after is not None:
            wanted.append((f"({_PLACE}) > (?, ?, ?, ?)", after))
        where = f"WHERE {' AND '.join(condition for condition, _ in wanted)}" if wanted else ""
        with self._database.use() as connection:
            found = connection.execute(
                f"SELECT {_LETTER}, attempts, state FROM fg_dead_letters {where} ORDER BY {_PLACE} LIMIT ?",
                [*chain.from_iterable(values for _, values in wanted), max(limit, 0)],
            ).fetchall()
        return [_loaded(row) for row in found]

    def mark(self, ids: Sequence[IngestionId], state: State, now: datetime) -> int:
        marked = 0
        with self._database.transaction() as connection:
            for rows, piece in chunks(list(chain.from_iterable(dict.fromkeys(ids))), 4):
                values = ", ".join(["(?, ?, ?, ?)"] * rows)
                marked += connection.execute(
                    f"UPDATE fg_dead_letters SET state = ?, marked_at = ? WHERE ({_PLACE}) IN (VALUES {values})",
                    [state, timestamp_text(now), *piece],
                ).rowcount
        return marked

    def offsets(self, partition: TopicPartition, incarnation: int) -> OffsetRanges:
        with self._database.snapshot() as connection:
            return offsets_of(
                connection,
                'SELECT "offset" AS at FROM fg_dead_letters WHERE topic = ? AND partition = ? AND incarnation = ?',
                (*partition, incarnation),
            )

    def close(self) -> None:
        self._database.close()


def _stored(letter: DeadLetter, now: str) -> tuple[Value, ...]:
    headers = msgspec.json.encode(letter.headers).decode()
    return (
        *letter.ingestion_id, letter.reason, _text(letter.error),
        None if letter.event_id is None else _text(letter.event_id),
        letter.key, letter.value, headers, letter.timestamp_ms, now, now,
    )  # fmt: skip


def _text(text: str) -> str:
    """An error may quote what is no valid text; the letter is kept all the same, and its value has the bytes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _loaded(row: Sequence[Any]) -> StoredDeadLetter:
    *place, reason, error, event_id, key, value, headers, timestamp_ms, first_seen, last_seen, attempts, state = row
    letter = DeadLetter(
        IngestionId(*place), Reason(reason), error, key, value, _headers.decode(headers), timestamp_ms, event_id
    )
    first, last = datetime.fromisoformat(first_seen), datetime.fromisoformat(last_seen)
    return StoredDeadLetter(letter, attempts, first, last, State(state))
