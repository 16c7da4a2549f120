"""Orders in PostgreSQL, each stored together with its message in the outbox."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta
from queue import Empty, SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from flowguard.adapters.postgres.database import TIMEOUT_S, Database
from flowguard.adapters.postgres.outbox import encoded
from flowguard.domain.errors import TransientError
from flowguard.domain.orders import IdempotencyKey, KeyReusedError, OrderExistsError, PlacedOrder, Placement
from flowguard.domain.outbox import OutboxMessage
from flowguard.ports.orders import OrderRepository

if TYPE_CHECKING:
    from psycopg import Connection

_TAKE_KEY: Final = """
    INSERT INTO fg_idempotency_keys (scope, key, fingerprint, order_id, created_at) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING RETURNING true
"""
_FORGET_KEYS: Final = """
    DELETE FROM fg_idempotency_keys WHERE (scope, key) IN (
      SELECT scope, key FROM fg_idempotency_keys WHERE created_at < %s
      ORDER BY created_at LIMIT 10 FOR UPDATE SKIP LOCKED
    )
"""
_STORE: Final = """
    INSERT INTO fg_orders (order_id, source, event_id, document, placed_at) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING RETURNING true
"""
_TELL: Final = "INSERT INTO fg_outbox (event_id, topic, key, value, headers) VALUES (%s, %s, %s, %s, %s)"
_FIND: Final = "SELECT order_id, source, event_id, document::text, placed_at FROM fg_orders WHERE order_id = %s"


class PostgresOrderRepository(OrderRepository):
    """As many connections as threads that use it at the same time. `keep_keys_s`: seconds that a key is remembered.

    Keys are forgotten as new ones come: some for each, so that no request pays for many.
    """

    def __init__(self, url: str, *, keep_keys_s: float = 86_400.0, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._keep = timedelta(seconds=keep_keys_s)
        self._timeout_s = timeout_s
        self._idle: SimpleQueue[Database] = SimpleQueue()
        self._all: list[Database] = []
        self._lock = Lock()
        self._closed = False
        self._idle.put(self._another())  # a URL that is none is told of at once

    def place(self, order: PlacedOrder, message: OutboxMessage, key: IdempotencyKey | None) -> Placement:
        with self._transaction() as connection:
            if key is not None and (known := self._known(connection, key, order)) is not None:
                return Placement(known, repeated=True)
            values = (order.order_id, order.source, order.event_id, order.document.decode(), order.placed_at)
            if connection.execute(_STORE, values).fetchone() is None:
                if _found(connection, order.order_id) is not None:
                    raise OrderExistsError(f"there is an order {order.order_id!r} already")
                raise OrderExistsError(f"an order with the event id {order.event_id!r} was placed already")
            connection.execute(_TELL, encoded(message))
            if key is not None:
                connection.execute(_FORGET_KEYS, [order.placed_at - self._keep])
        return Placement(order, repeated=False)

    def get(self, order_id: str) -> PlacedOrder | None:
        with self._transaction() as connection:
            return _found(connection, order_id)

    def check(self) -> None:
        with self._transaction() as connection:
            connection.execute("SELECT 1 FROM fg_orders, fg_idempotency_keys, fg_outbox LIMIT 0")
            if connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
                raise TransientError("the database of orders_url is a standby: it takes no orders")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            databases, self._all = self._all, []
        for one in databases:
            one.close()

    def _known(self, connection: Connection[Any], key: IdempotencyKey, order: PlacedOrder) -> PlacedOrder | None:
        """What the key led to; None where it is new, and now belongs to this order."""
        values = (key.scope, key.key, key.fingerprint, order.order_id, order.placed_at)
        while connection.execute(_TAKE_KEY, values).fetchone() is None:  # it waits for the end of who has it
            found = connection.execute(
                "SELECT fingerprint, order_id FROM fg_idempotency_keys WHERE scope = %s AND key = %s",
                [key.scope, key.key],
            ).fetchone()
            if found is None:
                continue  # it was forgotten in between
            if found[0] != key.fingerprint:
                raise KeyReusedError(f"the idempotency key {key.key!r} came with another request before")
            return _found(connection, found[1])
        return None

    @contextmanager
    def _transaction(self) -> Iterator[Connection[Any]]:
        try:
            database = self._idle.get_nowait()
        except Empty:
            database = self._another()
        try:
            with database.transaction() as connection:
                yield connection
        finally:
            self._idle.put(database)

    def _another(self) -> Database:
        with self._lock:
            if self._closed:
                raise TransientError("these orders are closed: nothing was stored; make another adapter")
            database = Database(self._url, timeout_s=self._timeout_s)
            self._all.append(database)
            return database


def _found(connection: Connection[Any], order_id: str) -> PlacedOrder | None:
    row = connection.execute(_FIND, [order_id]).fetchone()
    if row is None:
        return None
    order_id, source, event_id, document, placed_at = row
    return PlacedOrder(order_id, source, event_id, document.encode(), placed_at.astimezone(UTC))
