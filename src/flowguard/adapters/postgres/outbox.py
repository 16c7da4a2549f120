"""The outbox in PostgreSQL, as its relay sees it: one session that has the lead, listens, takes and marks."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flowguard.adapters.postgres.database import TIMEOUT_S, Database
from flowguard.domain.errors import FlowGuardError
from flowguard.domain.outbox import OutboxMessage
from flowguard.ports.outbox import Outbox, Waiting

if TYPE_CHECKING:
    from psycopg import Connection

    from flowguard.domain.ingestion import Headers

_MOST_BYTES: Final = 4 * 1024 * 1024
_LEAD: Final = "(26215::bigint << 32) | 'fg_outbox'::regclass::oid::bigint"
"""The advisory lock of this table ("fg", its oid): outboxes in other schemas have relays of their own."""

_FROZEN_S: Final = 30
"""A leader that says nothing for so long has lost the lead; a live one speaks every second."""

# Without these, the session (and the lead) of a machine that vanished would live on for hours, and that of a process
# that was frozen for ever. PostgreSQL 13 has no idle_session_timeout.
_MORTAL: Final = """
    SELECT set_config(settings.name, wanted.value, false) FROM pg_settings AS settings JOIN (VALUES
      ('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', '3'),
      ('idle_session_timeout', %s::text)
    ) AS wanted (name, value) USING (name)
"""

# The first one whatever its size, and what fits behind it.
_TAKE: Final = """
    SELECT id, event_id, topic, key, value, headers FROM (
      SELECT lowest.*, sum(octet_length(value)) OVER (ORDER BY id) - octet_length(value) AS bytes_before
      FROM (SELECT * FROM fg_outbox WHERE sent_at IS NULL ORDER BY id LIMIT %s) AS lowest
    ) AS measured WHERE bytes_before < %s ORDER BY id
"""
_CLEAN_UP: Final = """
    DELETE FROM fg_outbox WHERE id = ANY (ARRAY(
      SELECT id FROM fg_outbox WHERE sent_at < %s ORDER BY sent_at LIMIT %s FOR UPDATE SKIP LOCKED
    ))
"""


class PostgresOutbox(Outbox):
    """The lead is an advisory lock of the session: it ends with the connection, however that ends."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._database = Database(url, timeout_s=timeout_s)
        # A wait is silence, and must end before silence is taken for the server's.
        self._longest_wait_s = timeout_s / 2
        self._leading: Connection[Any] | None = None

    def take(self, limit: int) -> Sequence[Waiting] | None:
        with self._database.transaction() as connection:
            # Another connection than the one that got the lead is another session: the lead is to be had anew.
            if connection is not self._leading:
                self._leading = None
                if connection.execute(f"SELECT pg_try_advisory_lock({_LEAD})").fetchone() != (True,):
                    return None
                connection.execute(_MORTAL, [f"{_FROZEN_S}s"])
                connection.execute("LISTEN fg_outbox")
            rows = connection.execute(_TAKE, [limit, _MOST_BYTES]).fetchall()
        self._leading = connection  # not before the commit: only then does it listen
        return [_waiting(*row) for row in rows]

    def mark_sent(self, ids: Sequence[int], now: datetime) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE fg_outbox SET sent_at = %s WHERE id = ANY (%s) AND sent_at IS NULL", [now, list(ids)]
            )

    def wait(self, timeout_s: float) -> None:
        with self._database.transaction() as connection:
            for _ in connection.notifies(timeout=min(timeout_s, self._longest_wait_s), stop_after=1):
                pass

    def clean_up(self, sent_before: datetime, limit: int) -> int:
        with self._database.transaction() as connection:
            return connection.execute(_CLEAN_UP, [sent_before, limit]).rowcount

    def close(self) -> None:
        if self._leading is not None:
            self._leading = None
            # The server may take a while to see that the session is gone; who stands by need not wait for that.
            with suppress(FlowGuardError), self._database.transaction() as connection:
                connection.execute("SELECT pg_advisory_unlock_all()")
        self._database.close()


def encoded(message: OutboxMessage) -> tuple[object, ...]:
    """The values of event_id, topic, key, value and headers."""
    return message.event_id, message.topic, message.key, message.value, headers_text(message.headers)


def headers_text(headers: Headers) -> str:
    """JSON: names, and values in base64."""
    return msgspec.json.encode([(name, b64encode(value).decode()) for name, value in headers]).decode()


def _waiting(number: int, event_id: str, topic: str, key: bytes | None, value: bytes, headers: str) -> Waiting:
    pairs = tuple((name, b64decode(text)) for name, text in msgspec.json.decode(headers))
    return Waiting(number, OutboxMessage(event_id, topic, key, value, pairs))
