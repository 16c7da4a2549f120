"""One Snowflake schema: one connection a writer, kept, looked after, and let go without waiting for anybody."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import snowflake.connector
from snowflake.connector import errors as sf

from flowguard.adapters.snowflake.errors import breaks_session, mapped
from flowguard.adapters.snowflake.url import url_of
from flowguard.domain.errors import TransientError, UnknownOutcomeError

TIMEOUT_S: Final = 10.0
"""How long connecting may take."""
QUERY_TIMEOUT_S: Final = 60.0
"""How long a statement may take: a warehouse that sleeps is woken by the first one."""

_IDLE_S: Final = 60.0
"""A connection that was not used for so long is asked whether it still is one."""
_CLOSE_TIMEOUT_S: Final = 2.0

# It would ask the metadata services of three clouds at each start, for its telemetry, and complain that there are none.
os.environ.setdefault("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")
logging.getLogger("snowflake.connector").setLevel(logging.WARNING)  # it would tell of every connection
logging.getLogger("snowflake.connector._core").setLevel(logging.ERROR)  # ... and of every proxy variable


class Session:
    """A connection, inside of a transaction. `statements` counts what was sent."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401  # the connector has no types
        self._connection = connection
        self.statements = 0

    def rows(self, sql: str, *binds: object) -> list[tuple[Any, ...]]:
        """What a query found."""
        with self._executed(sql, binds) as cursor:
            return list(cursor.fetchall())

    def change(self, sql: str, *binds: object) -> int:
        """How many rows a statement has changed."""
        with self._executed(sql, binds) as cursor:
            return max(0, cursor.rowcount or 0)

    @contextmanager
    def _executed(self, sql: str, binds: Sequence[object]) -> Iterator[Any]:
        self.statements += 1
        with self._connection.cursor() as cursor:
            cursor.execute(sql, binds or None)
            yield cursor


class Database:
    """A schema that was migrated, and one lazy connection to it. Used by one thread at a time, whichever it is.

    Every use raises TransientError, ConfigurationError or PermanentError in place of the connector's errors. The
    connection is made anew after any error but the server's answer to a statement, and asked before it is used when
    nobody used it for a minute. Times in seconds.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S, query_timeout_s: float = QUERY_TIMEOUT_S) -> None:
        self.url = url_of(url)
        self.where = self.url.where
        self._timeout_s = timeout_s
        self._query_timeout_s = query_timeout_s
        self._connection: Any = None
        self._used_at = 0.0
        self._lock = threading.Lock()
        self._closed = False
        self.connections = 0
        """How many were made."""
        self.staged = False
        """Whether this connection has its temporary table and stage."""
        self.statements = 0
        """How many were sent, commits included."""

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back when anything is raised inside.

        Raises UnknownOutcomeError where the commit failed in a way that leaves open whether it took effect.
        """
        with self._lock, mapped(self.where):
            session = Session(self._usable())
            try:
                try:
                    yield session
                except BaseException as error:
                    if _broken(error):
                        self._drop()
                    else:
                        self._roll_back(session)
                    raise
                self._commit(session)
            finally:
                self.statements += session.statements
                self._used_at = time.monotonic()

    def close(self) -> None:
        """Let go of the connection; nobody waits for a server that hangs. Idempotent."""
        self._closed = True
        if self._lock.acquire(timeout=_CLOSE_TIMEOUT_S):
            self._drop()
            self._lock.release()

    def _usable(self) -> Any:  # noqa: ANN401  # the connector has no types
        if self._closed:
            raise TransientError(f"{self.where}: closed")
        if self._connection is not None and time.monotonic() - self._used_at > _IDLE_S:
            try:
                Session(self._connection).rows("SELECT 1")
            except sf.Error:
                self._drop()
        if self._connection is None:
            self._connection = self._connected()
            self.staged = False
            self.connections += 1
        return self._connection

    def _connected(self) -> Any:  # noqa: ANN401  # the connector has no types
        short = max(1, round(self._timeout_s))
        return snowflake.connector.connect(
            **self.url.options,
            application="FlowGuard",
            autocommit=False,  # the first change begins the transaction: that saves a BEGIN
            paramstyle="qmark",
            login_timeout=short,
            connect_timeout=max(1, short // 2),
            retry_timeout=short,
            request_timeout=max(1, round(self._query_timeout_s)),
            query_timeout=max(1, round(self._query_timeout_s)),
            logout_request_timeout_seconds=1,
            logout_total_timeout_seconds=2,
            enable_server_session_keep_alive_auto_detection=False,
            auto_cleanup=False,
            session_parameters={
                "CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False,
                "CLIENT_TELEMETRY_ENABLED": False,
                # Somebody who died may hold a lock until Snowflake gives the session up.
                "LOCK_TIMEOUT": max(1, round(self._query_timeout_s / 2)),
                "TIMEZONE": "UTC",
                "QUERY_TAG": "flowguard",
            },
        )

    def _commit(self, session: Session) -> None:
        try:
            session.change("COMMIT")
        except sf.Error as error:
            if not _broken(error):
                self._roll_back(session)
                raise
            self._drop()
            raise UnknownOutcomeError(f"{self.where}: it may or may not have been stored ({error})") from error

    def _roll_back(self, session: Session) -> None:
        try:
            session.change("ROLLBACK")
        except sf.Error:
            self._drop()

    def _drop(self) -> None:
        """Forget the connection. Saying goodbye to a server that hangs takes seconds: a thread of its own does it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            threading.Thread(target=_quietly_closed, args=(connection,), daemon=True, name=next(_NAMES)).start()


_NAMES: Final = (f"snowflake-goodbye-{number}" for number in itertools.count())


def _quietly_closed(connection: Any) -> None:  # noqa: ANN401  # the connector has no types
    with suppress(Exception):
        connection.close()


def _broken(error: BaseException) -> bool:
    """Whether the connection is not to be used again."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sf.Error):
            return breaks_session(cause)
        cause = cause.__cause__
    return not isinstance(error, Exception)
