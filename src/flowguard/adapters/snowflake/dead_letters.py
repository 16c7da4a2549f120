"""Dead letters in tables: one shape for all event types, a table for each.

Snowflake keeps no UNIQUE: who writes letters changes the one row of FG_DEAD_LETTER_TURN first, which the transaction
locks to its end. So writers take turns, and each sees all that the one before it committed.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from flowguard.adapters.snowflake.database import QUERY_TIMEOUT_S, TIMEOUT_S, Database
from flowguard.adapters.snowflake.documents import encoded
from flowguard.adapters.snowflake.feeding import fed, is_large, prepare
from flowguard.adapters.snowflake.ledger import offsets_of
from flowguard.adapters.snowflake.letter_tables import KEPT, MARKS, PLACE, TOLD, TYPES, letters_of
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.catalog import EventType
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.errors import ConfigurationError
from flowguard.domain.ingestion import Headers, IngestionId, TopicPartition
from flowguard.ports.dead_letters import DeadLetterQueue, State, StoredDeadLetter

_LETTER: Final = (*PLACE, *TOLD, *KEPT)
_TURN: Final = "UPDATE FG_DEAD_LETTER_TURN SET TURN = TURN + 1"
_SAME: Final = " AND ".join(f"d.{name} = g.{name}" for name in PLACE)


def _selected(names: Iterable[str]) -> str:
    """These columns out of `s.v`, an array of their values."""
    return ", ".join(f"s.v[{at}]::{TYPES[name]} AS {name}" for at, name in enumerate(names))


_PUT: Final = f"""
    MERGE INTO {{table}} AS d USING (SELECT {_selected(_LETTER)} FROM {{source}}) AS g ON {_SAME}
    WHEN MATCHED THEN UPDATE SET {", ".join(f"{name} = g.{name}" for name in TOLD)},
      ATTEMPTS = d.ATTEMPTS + g.ATTEMPTS, LAST_SEEN = g.LAST_SEEN
    WHEN NOT MATCHED THEN INSERT ({", ".join(_LETTER)}) VALUES ({", ".join(f"g.{name}" for name in _LETTER)})
"""
_MARK: Final = f"""
    UPDATE {{table}} AS d SET STATE = g.STATE, MARKED_AT = g.MARKED_AT
    FROM (SELECT {_selected((*PLACE, *MARKS))} FROM {{source}}) AS g WHERE {_SAME}
"""
_headers: msgspec.json.Decoder[Headers] = msgspec.json.Decoder(Headers)


class SnowflakeDeadLetterQueue(DeadLetterQueue):
    """Keeps the dead letters of these event types in `CLICKS_DLQ`, `ORDERS_DLQ`, ... of one schema.

    Times in seconds.
    """

    def __init__(
        self,
        url: str,
        event_types: Iterable[EventType],
        *,
        timeout_s: float = TIMEOUT_S,
        query_timeout_s: float = QUERY_TIMEOUT_S,
    ) -> None:
        self._database = Database(url, timeout_s=timeout_s, query_timeout_s=query_timeout_s)
        self._tables = {one.topic: letters_of(one) for one in event_types}

    @property
    def statements(self) -> int:
        """How many were sent to Snowflake: each is a round trip."""
        return self._database.statements

    def put(self, letters: Sequence[DeadLetter], now: datetime) -> None:
        if not letters:
            return
        documents = self._documents(letters, now)
        with self._database.transaction() as session:
            if any(map(is_large, documents.values())):
                prepare(self._database, session)
            session.change(_TURN)
            for table, some in documents.items():
                with fed(session, some) as feed:
                    session.change(_PUT.format(table=table, source=feed.source), *feed.binds)

    def page(
        self, *, topic: str | None = None, reason: Reason | None = None, state: State | None = None,
        limit: int = 100, after: IngestionId | None = None,
    ) -> Sequence[StoredDeadLetter]:  # fmt: skip
        wanted: list[tuple[str, Sequence[object]]] = [
            (f"{name} = ?", (str(value),))
            for name, value in (("TOPIC", topic), ("REASON", reason), ("STATE", state))
            if value is not None
        ]
        if after is not None:
            wanted.append(_past(after))
        where = f"WHERE {' AND '.join(condition for condition, _ in wanted)}" if wanted else ""
        with self._database.transaction() as session:
            found = session.rows(
                f"SELECT * FROM ({self._all(_LETTER)}) {where} ORDER BY {', '.join(PLACE)} LIMIT {max(limit, 0)}",
                *(value for _, values in wanted for value in values),
            )
        return [_loaded(row) for row in found]

    def mark(self, ids: Sequence[IngestionId], state: State, now: datetime) -> int:
        if not ids:
            return 0
        marked = 0
        with self._database.transaction() as session:
            given: dict[str, list[bytes]] = {}
            for one in sorted(set(ids)):
                if table := self._tables.get(one.topic):
                    given.setdefault(table, []).append(encoded((*one, state, now)))
            if any(map(is_large, given.values())):
                prepare(self._database, session)
            session.change(_TURN)
            for table, some in given.items():
                with fed(session, some) as feed:
                    marked += session.change(_MARK.format(table=table, source=feed.source), *feed.binds)
        return marked

    def offsets(self, partition: TopicPartition, incarnation: int) -> OffsetRanges:
        with self._database.transaction() as session:
            return offsets_of(
                session,
                f'SELECT "OFFSET" AS AT_OFFSET FROM ({self._all(PLACE)})'
                " WHERE TOPIC = ? AND PARTITION = ? AND INCARNATION = ?",
                (*partition, incarnation),
            )

    def close(self) -> None:
        self._database.close()

    def _documents(self, letters: Sequence[DeadLetter], now: datetime) -> dict[str, list[bytes]]:
        """By table; what is put twice becomes one letter, as its last one says. Values in the order of _LETTER."""
        last = {letter.ingestion_id: letter for letter in letters}
        times = dict.fromkeys(last, 0)
        for letter in letters:
            times[letter.ingestion_id] += 1
        if unknown := sorted({one.topic for one in last} - self._tables.keys()):
            raise ConfigurationError(
                f"{self._database.where}: the catalog has no event type whose topic is {', '.join(unknown)}, so no"
                " table for its dead letters: add it to the catalog, and run `flowguard migrate`"
            )
        documents: dict[str, list[bytes]] = {}
        for id_, letter in last.items():
            documents.setdefault(self._tables[id_.topic], []).append(_document(letter, times[id_], now))
        return documents

    def _all(self, names: Sequence[str]) -> str:
        columns = ", ".join(names)
        return " UNION ALL ".join(f"SELECT {columns} FROM {table}" for table in self._tables.values())


def _document(letter: DeadLetter, times: int, now: datetime) -> bytes:
    headers = encoded(letter.headers).decode()
    key = None if letter.key is None else b64encode(letter.key).decode()
    event_id = None if letter.event_id is None else _text(letter.event_id)
    return encoded(
        (*letter.ingestion_id, letter.reason, _text(letter.error), event_id, key, b64encode(letter.value).decode(),
         headers, letter.timestamp_ms, times, now, now, State.OPEN)
    )  # fmt: skip


def _text(text: str) -> str:
    """An error may quote what is no text; the letter is kept all the same, and its value has the bytes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _past(after: IngestionId) -> tuple[str, Sequence[object]]:
    """A condition and its values: tuples are not compared in Snowflake, only their members."""
    clauses, values = [], list[object]()
    for at, name in enumerate(PLACE):
        clauses.append(" AND ".join([*(f"{same} = ?" for same in PLACE[:at]), f"{name} > ?"]))
        values += after[: at + 1]
    return f"({' OR '.join(f'({one})' for one in clauses)})", values


def _loaded(row: Sequence[Any]) -> StoredDeadLetter:
    *place, reason, error, event_id, key, value, headers, timestamp_ms, attempts, first_seen, last_seen, state = row
    letter = DeadLetter(
        IngestionId(*place),
        Reason(reason),
        error,
        None if key is None else b64decode(key),
        b64decode(value),
        _headers.decode(headers),
        timestamp_ms,
        event_id,
    )
    return StoredDeadLetter(letter, attempts, first_seen.astimezone(UTC), last_seen.astimezone(UTC), State(state))
