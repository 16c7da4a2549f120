"""One PostgreSQL database: how it is named, connected to, used by one thread at a time, and let go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import Connection
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError

from flowguard.adapters.postgres.errors import mapped, state_of
from flowguard.adapters.postgres.watch import Watch
from flowguard.domain.errors import ConfigurationError, FlowGuardError, TransientError, UnknownOutcomeError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

TIMEOUT_S: Final = 10.0
"""How long the server may be silent before it is given up."""

_CLOSE_TIMEOUT_S: Final = 2.0
_KEEPALIVE: Final = {"keepalives_idle": "5", "keepalives_interval": "2", "keepalives_count": "3"}
_EVICT: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
      AND application_name = current_setting('application_name') AND xact_start IS NOT NULL
      AND wait_event_type = 'Client' AND state_change < now() - make_interval(secs => %s)
"""


def url_of(text: str) -> URL:
    """`postgresql://user:password@host:5432/database?sslmode=require` for SQLAlchemy and psycopg 3.

    Its parameters are libpq's. Raises ConfigurationError for any other text.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(
            "the text names no PostgreSQL database: write postgresql://user@host:5432/database"
        ) from error
    if url.drivername.split("+")[0] != "postgresql" or not url.database:
        raise ConfigurationError(
            f"{named(url)} names no PostgreSQL database: write postgresql://user@host:5432/database"
        )
    return url.set(drivername="postgresql+psycopg")


def named(url: URL) -> str:
    """The database in messages, without user and password."""
    where = url.host or url.query.get("host") or "local socket"
    return f"postgresql://{where}{f':{url.port}' if url.port else ''}/{url.database}"


def engine_of(
    url: URL, timeout_s: float, *, statement_timeout_s: float, watched: Callable[[Any], None] = lambda _: None
) -> Engine:
    """An engine that has not connected yet. Times in seconds. `watched` is told of each new connection at once."""
    settings = {
        "TimeZone": "UTC",
        "statement_timeout": f"{statement_timeout_s * 1000:.0f}",
        # Before the silence of somebody who waits for a lock is taken for the server's.
        "lock_timeout": f"{timeout_s * 500:.0f}",
        # A consumer that was frozen in the middle must not hold its locks for ever.
        "idle_in_transaction_session_timeout": f"{timeout_s * 1000:.0f}",
    }
    given = {name for name, _ in url.query.items()}
    defaults = {
        "connect_timeout": str(max(2, round(timeout_s / 2))),
        "application_name": "flowguard",
        "tcp_user_timeout": f"{timeout_s * 1000:.0f}",
        **_KEEPALIVE,
    }
    engine = create_engine(
        url,
        connect_args={
            **{name: value for name, value in defaults.items() if name not in given},
            "client_encoding": "utf8",  # whatever PGCLIENTENCODING says
        },
        pool_size=1,
        max_overflow=0,
        pool_timeout=timeout_s,
        pool_recycle=3600,
    )

    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401  # as the event has it
        watched(connection)
        # Not as options of the start: a pooler would refuse them, or pass over them.
        pairs = ", ".join("set_config(%s, %s, false)" for _ in settings)
        try:
            connection.autocommit = True
            connection.execute(f"SELECT {pairs}", [text for pair in settings.items() for text in pair])
            connection.autocommit = False
        except BaseException:
            connection.close()  # the pool does not know of it yet
            raise

    event.listen(engine, "connect", connected, insert=True)  # before SQLAlchemy asks for what it wants to know
    return engine


class Database:
    """A database that was migrated, and one lazy connection to it. Used by one thread at a time, whichever it is.

    Every use raises TransientError, ConfigurationError or PermanentError in place of the driver's errors. A connection
    that died while nobody used it is found dead, and replaced, before it is used. Where the server is silent for
    `timeout_s`, that is a TransientError. `patient`: for reading what may take long, one statement may take ten
    minutes.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S, patient: bool = False) -> None:
        self.url = url_of(url)
        self.where = named(self.url)
        statement_s = 600.0 if patient else 3 * timeout_s  # of which a COPY that goes on may take all
        self._engine = engine_of(
            self.url, timeout_s, statement_timeout_s=statement_s, watched=lambda one: self._watch.begin(one, timeout_s)
        )
        # Found dead before it is used: by ourselves, since the pool would ask a silent server for ever.
        event.listen(self._engine, "checkout", self._ask)
        self._watch = Watch()
        self._timeout_s = timeout_s
        self._patience_s = statement_s + timeout_s if patient else timeout_s
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def transaction(self) -> Iterator[Connection[Any]]:
        """One transaction: committed at the end, rolled back when anything is raised inside.

        Raises UnknownOutcomeError where the commit failed in a way that leaves open whether it took effect.
        """
        with self._lock, mapped(self.where):
            if self._closed:
                raise TransientError(f"{self.where}: closed")
            pooled = self._engine.raw_connection()
            try:
                connection = pooled.driver_connection
                assert isinstance(connection, Connection)  # noqa: S101  # narrows the type: the URL says psycopg
                with self._watch.over(connection, self._patience_s):
                    try:
                        yield connection
                    except BaseException:
                        with suppress(psycopg.Error):
                            connection.rollback()
                        raise
                    self._commit(connection)
            except BaseException as error:
                if _unfit(pooled.driver_connection, error):
                    pooled.invalidate()
                raise
            finally:
                pooled.close()

    @contextmanager
    def snapshot(self) -> Iterator[Connection[Any]]:
        """Several statements that all see the same moment, and change nothing."""
        with self.transaction() as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection

    @contextmanager
    def evicting(self) -> Iterator[None]:
        """Where a lock is not to be had inside, end the sessions of writers that stand still in the middle of a batch.

        A process that was frozen holds its locks as long as it likes; the next try finds them free. Only sessions of
        our own user and name are ended, and only those for which the server has waited longer than `timeout_s`.
        """
        try:
            yield
        except TransientError as error:
            if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                with suppress(FlowGuardError), self.transaction() as connection:
                    connection.execute(_EVICT, [self._timeout_s])
            raise

    def progress(self) -> None:
        """From inside a transaction: the server took or gave something just now."""
        self._watch.progress()

    def close(self) -> None:
        """Let go of the connection, cutting off what still runs. Idempotent."""
        self._closed = True
        self._watch.close()
        # A thread that hangs all the same keeps its connection; it is dropped when that returns.
        if self._lock.acquire(timeout=_CLOSE_TIMEOUT_S):
            self._engine.dispose()
            self._lock.release()

    def _ask(self, connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401  # as the event has it
        """Have the pool make another connection where this one does not answer."""
        try:
            with self._watch.over(connection, self._timeout_s):
                self._engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise DisconnectionError from error

    def _commit(self, connection: Connection[Any]) -> None:
        try:
            connection.commit()
        except psycopg.Error as error:
            # A deferred constraint, a serialization failure: the server says that it did not commit.
            if state_of(error) is not None and not connection.broken:
                raise
            raise UnknownOutcomeError(f"{self.where}: it may or may not have been stored ({error})") from error


def _unfit(connection: object, error: BaseException) -> bool:
    if not isinstance(connection, Connection):
        return True
    # Of a server that is read-only now: asked anew, the address may lead to the one that took its place.
    read_only = isinstance(error, psycopg.errors.ReadOnlySqlTransaction)
    return connection.closed or connection.broken or read_only or not isinstance(error, Exception)
