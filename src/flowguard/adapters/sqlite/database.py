"""One sqlite file: how it is named, opened, used by one thread at a time, and let go."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from flowguard.adapters.sqlite.errors import code_of, mapped
from flowguard.domain.errors import ConfigurationError, FlowGuardError, TransientError, UnknownOutcomeError

BUSY_TIMEOUT_S = 5.0
"""How long a statement waits for another process's lock before it is a TransientError."""

_CLOSE_TIMEOUT_S = 2.0
Value = str | bytes | int | float | None
"""What sqlite stores."""

_PREFIX = "sqlite:///"
_OLDEST = (3, 32, 0)  # 32,766 bound values in one statement


def path_of(url: str) -> Path:
    """The file of `sqlite:///relative.db` or `sqlite:////absolute.db`, taken as it is (no escapes).

    Raises ConfigurationError for any other text.
    """
    path = url.removeprefix(_PREFIX)
    if not url.startswith(_PREFIX) or path == ":memory:" or not Path(path).name:
        raise ConfigurationError(
            f"{url!r} names no sqlite file: write sqlite:///folder/file.db, or sqlite:////folder/file.db for an"
            " absolute path (memory:// keeps nothing on disk)"
        )
    return Path(path)


def connect(path: Path, mode: str, busy_timeout_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
    """A connection in autocommit mode, durable, for any thread. `mode` is sqlite's: ro, rw or rwc."""
    if sqlite3.sqlite_version_info < _OLDEST:
        raise ConfigurationError(f"Python brings SQLite {sqlite3.sqlite_version}, and FlowGuard needs 3.32 or newer")
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=busy_timeout_s,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )
    try:
        # The fullfsync pair matters on macOS only: there, fsync alone does not reach the disk.
        connection.executescript(
            "PRAGMA synchronous=FULL; PRAGMA fullfsync=1; PRAGMA checkpoint_fullfsync=1;"
            "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-32768; PRAGMA secure_delete=0;"
            "PRAGMA wal_autocheckpoint=4000; PRAGMA journal_size_limit=67108864"
        )
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def made_durable(folder: Path) -> None:
    """Make the folder, and have its entry survive a power cut. Raises TransientError where it cannot be made."""
    if folder.is_dir():
        return
    made_durable(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
        if os.name == "posix":
            descriptor = os.open(folder.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise TransientError(f"{folder} cannot be made: {error.strerror}") from error


class Database:
    """A file that was migrated, and one lazy connection to it. Used by one thread at a time, whichever it is.

    Every use raises TransientError, ConfigurationError or PermanentError in place of sqlite's own errors. After an
    error that says something about the file, the connection is dropped, and the next use makes a new one.
    """

    def __init__(
        self, path: Path, *, read_only: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S, flushed: bool = True
    ) -> None:
        """Where not `flushed`, a power cut may undo the last transactions, in order."""
        self.path = path
        self._read_only = read_only
        self._busy_timeout_s = busy_timeout_s
        self._flushed = flushed
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Run statements, each a transaction of its own."""
        with self._lock, mapped(self.path):
            connection = self._opened()
            try:
                yield connection
            except sqlite3.Error as error:
                self._drop_after(error)
                raise

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Several statements that all see the same moment."""
        with self.use() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                self._roll_back(connection)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One write transaction: committed at the end, rolled back when anything is raised inside.

        Raises UnknownOutcomeError where the commit failed in a way that leaves open whether it took effect.
        """
        with self._lock, mapped(self.path):
            connection = self._opened()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
            except BaseException as error:
                self._roll_back(connection)
                if isinstance(error, sqlite3.Error):
                    self._drop_after(error)
                raise
            self._commit(connection)

    def execute_alone(self, sql: str, parameters: Sequence[Value]) -> bool:
        """Run one writing statement as a transaction of its own; False where a trigger refused it.

        One statement gives up the interpreter's lock once, and a transaction at each of its steps; beside a busy
        thread, each time costs milliseconds. Raises UnknownOutcomeError where it may have taken effect.
        """
        with self._lock, mapped(self.path):
            connection = self._opened()
            try:
                connection.execute(sql, parameters)
            except sqlite3.Error as error:
                self._drop_after(error)
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
                    return False
                if code_of(error) == sqlite3.SQLITE_IOERR:
                    raise self._unknown(error) from error
                raise
            return True

    def close(self) -> None:
        """Let go of the file; what still runs is interrupted. Idempotent."""
        self._closed = True
        # An interrupt that finds nothing to stop would stop the checkpoint that closing the last connection makes.
        if not self._lock.acquire(blocking=False):
            connection = self._connection
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.interrupt()
            # A thread that hangs in a statement keeps its connection; it is dropped when that returns.
            if not self._lock.acquire(timeout=_CLOSE_TIMEOUT_S):
                return
        try:
            self._drop()
        finally:
            self._lock.release()

    def _opened(self) -> sqlite3.Connection:
        if self._closed:
            self._drop()
            raise TransientError(f"{self.path}: closed")
        try:
            found = os.stat(self.path)  # noqa: PTH116  # an eighth of the cost of Path.stat, at every use
        except FileNotFoundError:
            self._drop()
            raise ConfigurationError(f"{self.path} does not exist: run `flowguard migrate`") from None
        except OSError as error:
            self._drop()
            raise TransientError(f"{self.path}: {error.strerror}") from error
        # A file that was moved away or replaced would go on taking writes that nobody ever finds again.
        if self._connection is None or self._file != (found.st_dev, found.st_ino):
            self._drop()
            self._connection = connect(self.path, "rw", self._busy_timeout_s)
            if self._read_only:
                # Not sqlite's mode=ro: if such a connection is the last one to close, the write-ahead log stays behind.
                self._connection.execute("PRAGMA query_only=ON")
            if not self._flushed:
                self._connection.execute("PRAGMA synchronous=NORMAL")
            self._file = (found.st_dev, found.st_ino)
        return self._connection

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            # A write-ahead log that could not be written holds no commit; one that could not be flushed may.
            certain = code_of(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL}
            self._roll_back(connection)
            self._drop()
            if certain:
                raise
            raise self._unknown(error) from error

    def _unknown(self, error: sqlite3.Error) -> FlowGuardError:
        return UnknownOutcomeError(f"{self.path}: it may or may not have been stored ({error})")

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:
                self._drop()

    def _drop_after(self, error: sqlite3.Error) -> None:
        if code_of(error) not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CONSTRAINT}:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
