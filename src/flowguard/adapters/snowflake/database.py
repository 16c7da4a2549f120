"""One Snowflake schema: one connection a writer, kept, looked after, and let go without waiting for anybody."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import snowflake.connector
from snowflake.connector import errors as sf

from flowguard.adapters.snowflake.errors import breaks_session, mapped
from flowguard.adapters.snowflake.keeping import Keeper, let_go, quietly_closed
from flowguard.adapters.snowflake.url import url_of
from flowguard.domain.errors import TransientError, UnknownOutcomeError

TIMEOUT_S: Final = 10.0
"""How long connecting may take."""
QUERY_TIMEOUT_S: Final = 60.0
"""How long a statement may take: a warehouse that sleeps is woken by the first one."""

STAGE: Final = "FG_FILES"
"""A temporary stage for files of documents."""
STAGED: Final = "FG_STAGED"
"""A temporary table with one column V, a document a row."""

IDLE_S: Final = 60.0
"""How long nobody uses a connection before it is asked whether it still is one."""
_CLOSE_TIMEOUT_S: Final = 2.0
_ABANDONED_S: Final = 120.0
"""Snowflake gives up a transaction after five silent minutes. What comes later succeeds, without what came before."""
_now: Final[Callable[[], float]] = (
    # A machine that sleeps is as silent as a process that is frozen, and the monotonic clock sleeps with it.
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)

# It would ask the metadata services of three clouds at each start, for its telemetry.
os.environ.setdefault("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")
# It tells of every connection, and warns of proxies that it uses. What goes wrong is raised.
logging.getLogger("snowflake.connector").setLevel(logging.ERROR)


class StalledError(TransientError):
    """So long has nobody said anything in the middle of a transaction that the server may have given it up."""


class Session:
    """A connection, inside of a transaction. `statements` counts what was sent.

    Raises StalledError where `silence_s` have passed between a change and the answer to what comes after it: this
    process was frozen, and the statements before may be undone.
    """

    def __init__(self, connection: Any, silence_s: float) -> None:  # noqa: ANN401  # the connector has no types
        self._connection = connection
        self._silence_s = silence_s
        self._changed = False
        self._answered_at = _now()
        self.statements = 0

    def rows(self, sql: str, *binds: object) -> list[tuple[Any, ...]]:
        """What a query found."""
        with self._executed(sql, binds) as cursor:
            return list(cursor.fetchall())

    def change(self, sql: str, *binds: object) -> int:
        """How many rows a statement has changed."""
        with self._executed(sql, binds) as cursor:
            self._changed = True
            return max(0, cursor.rowcount or 0)

    @contextmanager
    def _executed(self, sql: str, binds: Sequence[object]) -> Iterator[Any]:
        self._require_heard(_ABANDONED_S)
        self.statements += 1
        with self._connection.cursor() as cursor:
            cursor.execute(sql, binds or None)
            self._require_heard(self._silence_s)
            self._answered_at = _now()
            yield cursor

    def _require_heard(self, within_s: float) -> None:
        silent_s = _now() - self._answered_at
        if self._changed and silent_s > within_s:
            raise StalledError(f"nothing was said in a transaction for {silent_s:.0f} s: it may be undone")


class Database:
    """A schema that was migrated, and one lazy connection to it. Used by one thread at a time, whichever it is.

    Every use raises TransientError, ConfigurationError or PermanentError in place of the connector's errors. The
    connection is made anew after any error but the server's answer to a statement. Whenever nobody used it for `idle_s`
    it is asked by a heartbeat, which wakes no warehouse, and replaced where it is dead. Who waits
    for a lock longer than `lock_timeout_s` (half of `query_timeout_s` if not given) gets TransientError. Times in
    seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        query_timeout_s: float = QUERY_TIMEOUT_S,
        lock_timeout_s: float | None = None,
        idle_s: float = IDLE_S,
    ) -> None:
        self.url = url_of(url)
        self.where = self.url.where
        self._timeout_s = timeout_s
        self._query_timeout_s = query_timeout_s
        self._lock_timeout_s = query_timeout_s / 2 if lock_timeout_s is None else lock_timeout_s
        self._idle_s = idle_s
        self._connection: Any = None
        self._used_at = 0.0
        self._lock = threading.Lock()
        self._keeper: Keeper | None = None
        self._closed = False
        self.connections = 0
        """How many were made."""
        self._staged = False  # whether this connection has its temporary table and stage
        self.statements = 0
        """How many were sent, commits included."""

    @contextmanager
    def transaction(self, *, staged: bool = False) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back when anything is raised inside.

        `staged`: with STAGE and STAGED, which are made before it, because that would commit it. They are temporary:
        they go when the session does, and need no right to create tables.

        Raises UnknownOutcomeError where the commit failed in a way that leaves open whether it took effect.
        """
        with self._lock, mapped(self.where):
            session = Session(self._usable(), max(_ABANDONED_S, self._query_timeout_s + self._timeout_s))
            try:
                try:
                    if staged and not self._staged:
                        session.change(f"CREATE TEMPORARY TABLE IF NOT EXISTS {STAGED} (V VARIANT)")
                        session.change(f"CREATE TEMPORARY STAGE IF NOT EXISTS {STAGE}")
                        self._staged = True
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
                self._used_at = _now()
                if self._closed:  # meanwhile, by somebody who did not wait
                    self._drop()

    def close(self) -> None:
        """Let go of the connection; nobody waits for a server that hangs. Idempotent."""
        self._closed = True
        if self._keeper is not None:
            self._keeper.ended.set()
        if self._lock.acquire(timeout=_CLOSE_TIMEOUT_S):
            self._drop()
            self._lock.release()

    def _usable(self) -> Any:  # noqa: ANN401  # the connector has no types
        if self._closed:
            raise TransientError(f"{self.where}: closed")
        if self._connection is None:
            self._connection = self._connected()
            self._staged = False
            self.connections += 1
        if self._keeper is None:
            self._keeper = Keeper(self._until_idle_s, self._keep)
            self._keeper.start()
        return self._connection

    def _until_idle_s(self) -> float:
        unused_s = _now() - self._used_at
        return self._idle_s - unused_s if unused_s < self._idle_s else self._idle_s

    def _keep(self) -> None:
        """Ask the connection if nobody has used it for so long, and replace it where it is dead, or was let go of.

        A server that hangs keeps no writer waiting: the connection is nobody's meanwhile, and who needs one makes one.
        """
        with self._unused() as ours:
            if not ours or _now() - self._used_at < self._idle_s:
                return
            asked, self._connection = self._connection, None
        try:
            kept = asked if asked is not None and asked.is_valid() else None
            if kept is None:
                if asked is not None:
                    quietly_closed(asked)
                kept = self._connected()
        except Exception:  # noqa: BLE001  # another time; who needs one before that is told
            return
        with self._unused() as ours:
            if ours and self._connection is None and not self._closed:
                self._connection, self._staged, self._used_at = kept, False, _now()
                self.connections += kept is not asked
                return
        quietly_closed(kept)

    @contextmanager
    def _unused(self) -> Iterator[bool]:
        """Whether it is ours, inside: nobody uses it."""
        ours = self._lock.acquire(blocking=False)
        try:
            yield ours
        finally:
            if ours:
                self._lock.release()

    def _connected(self) -> Any:  # noqa: ANN401  # the connector has no types
        short = max(1, round(self._timeout_s))
        return snowflake.connector.connect(
            **self.url.options,
            application="FlowGuard",
            autocommit=False,  # the first change begins the transaction: that saves a BEGIN
            paramstyle="qmark",
            login_timeout=short,
            connect_timeout=max(1, short // 2),
            retry_timeout=max(1, round(self._query_timeout_s)),  # of one try: a statement waits for its lock in it
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
                "LOCK_TIMEOUT": max(1, round(self._lock_timeout_s)),
                "TIMEZONE": "UTC",
                "TIMESTAMP_INPUT_FORMAT": "AUTO",
                "QUERY_TAG": "flowguard",
            },
        )

    def _commit(self, session: Session) -> None:
        try:
            session.change("COMMIT")
        except (sf.Error, StalledError) as error:
            if not _broken(error):
                self._roll_back(session)
                raise
            self._drop()
            raise UnknownOutcomeError(f"{self.where}: it may or may not have been stored ({error})") from error
        except BaseException:
            self._drop()
            raise

    def _roll_back(self, session: Session) -> None:
        try:
            session.change("ROLLBACK")
        except sf.Error:
            self._drop()

    def _drop(self) -> None:
        """Forget the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            let_go(connection)


def _broken(error: BaseException) -> bool:
    """Whether the connection is not to be used again."""
    if isinstance(error, StalledError):
        return True
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sf.Error):
            return breaks_session(cause)
        cause = cause.__cause__
    return not isinstance(error, Exception)
