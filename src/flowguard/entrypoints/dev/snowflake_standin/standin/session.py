"""One session: its transaction, its locks, and the results that its client has not fetched yet."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import duckdb
from fakesnow.conn import FakeSnowflakeConnection

from .cursor import Cursor
from .errors import CancelledError, ConflictError, LockError, StatementError, as_snowflake
from .locks import TableLocks
from .results import Result, result_of
from .settings import Settings
from .statements import Kind, Params, Statement, split
from .transaction import Transaction

_KEPT_RESULTS = 32
_CONFLICT_PAUSE_S = 0.02
_DDL_COLLATION = re.compile(r"\s*SHOW\s+PARAMETERS\s+LIKE\s+'DEFAULT_DDL_COLLATION'\s+IN\s+SCHEMA\b", re.IGNORECASE)
_LOCK_TIMEOUT = re.compile(r"\bLOCK_TIMEOUT\s*=\s*(\d+)", re.IGNORECASE)

Hold = Callable[[str, Callable[[], bool]], None]
"""Stands still before a statement takes effect, where a test wants that: its text, and whether it is cancelled."""


class Connection(FakeSnowflakeConnection):
    """fakesnow's state of a session. Transactions are not its business here: DuckDB's autocommit is on for it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named, create_database=False, create_schema=False)
        self.wants_autocommit = True

    def cursor(self, cursor_class: object = None) -> Cursor:
        del cursor_class
        return Cursor(conn=self, duck_conn=self._duck_conn)

    def autocommit(self, mode: bool) -> None:  # noqa: FBT001  # as fakesnow calls it
        self.wants_autocommit = mode


class Session:
    """One request at a time: others of the same session wait."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        locks: TableLocks,
        hold: Hold,
        *,
        settings: Settings,
        database: str | None,
        schema: str | None,
        autocommit: bool,
        lock_timeout_s: float,
    ) -> None:
        self.id = secrets.randbits(48)
        self.token, self.master_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._duck = connection
        self.state = Connection(connection, _Recent(), database, schema, db_path=settings.data)
        self.state.wants_autocommit = autocommit
        self._locks = locks
        self._hold = hold
        self._lock_timeout_s = lock_timeout_s
        self._ddl_collation = settings.ddl_collation
        self._transaction: Transaction | None = None
        self._temporary: set[str] = set()
        self._busy = threading.Lock()
        self._idle_since = time.monotonic()
        self._running: str | None = None
        self._cancelled = False
        self.results: _Recent = _Recent()

    # -- requests -------------------------------------------------------------------------------------------------

    def execute(
        self, text: str, params: Params, rows: list[Params] | None, *, request: str, many: bool
    ) -> list[Result]:
        """Run a request's statement, for each of the rows where there are such; or its statements, where it has many.

        Raises StatementError.
        """
        with self._busy:
            self._running, self._cancelled = request, False
            try:
                with as_snowflake():
                    statements = split(text, self.state.database, self.state.schema)
                if not statements:
                    raise StatementError(900, "42601", "SQL compilation error: Empty SQL statement.")
                if len(statements) > 1 and not many:
                    raise StatementError(
                        8,
                        "0A000",
                        f"Actual statement count {len(statements)} did not match the desired statement count 1.",
                    )
                results = []
                for statement in statements:
                    own = params
                    if many and isinstance(params, tuple):
                        own, params = params[: statement.binds], params[statement.binds :]
                    results.append(self._statement(statement, [own] if rows is None else rows))
                for result in results:
                    self.results[result.id] = result
                return results
            finally:
                self._running = None
                self._idle_since = time.monotonic()

    def cancel(self, request: str) -> None:
        """Stop the statement of this request, if it still runs."""
        if self._running == request:
            self._cancelled = True
            self._duck.interrupt()

    def touch(self) -> None:
        """The client is there."""
        self._idle_since = time.monotonic()

    def close(self) -> None:
        """Its open transaction is rolled back."""
        with self._busy:
            self._rollback()
            self._duck.close()

    def abandon(self, after_s: float) -> bool:
        """As `Owner` says."""
        if time.monotonic() - self._idle_since < after_s or not self._busy.acquire(blocking=False):
            return False
        try:
            self._rollback()
        finally:
            self._busy.release()
        return True

    # -- statements -----------------------------------------------------------------------------------------------

    def _statement(self, statement: Statement, rows: list[Params]) -> Result:
        if (found := _LOCK_TIMEOUT.search(statement.text)) and statement.kind is Kind.OTHER:
            self._lock_timeout_s = float(found[1])
            return self._success()
        match statement.kind:
            case Kind.BEGIN:
                self._transaction = self._transaction or self._new()
            case Kind.COMMIT:
                self._hold(statement.text, self._is_cancelled)
                self._commit()
            case Kind.ROLLBACK:
                self._rollback()
            case Kind.DDL:
                self._commit()
                return self._alone(statement, rows)
            case Kind.DML if self._transaction is None and self.state.wants_autocommit:
                return self._alone(statement, rows)
            case Kind.DML:
                self._transaction = self._transaction or self._new()
                result = self._change(self._transaction, statement, rows)
                self._hold(statement.text, self._is_cancelled)
                return result
            case Kind.OTHER:
                return self._read(statement, rows[0])
        return self._success()

    def _alone(self, statement: Statement, rows: list[Params]) -> Result:
        """In a transaction of its own."""
        self._transaction = self._new()
        try:
            if statement.kind is Kind.DDL:
                return self._define(statement, rows[0])
            result = self._change(self._transaction, statement, rows)
            self._hold(statement.text, self._is_cancelled)
            self._commit()
        except BaseException:
            self._rollback()
            raise
        return result

    def _define(self, statement: Statement, params: Params) -> Result:
        """DDL commits itself, and DuckDB does not take all of it within a transaction."""
        deadline = self._lock(statement)
        try:
            result = self._again_on_conflict(deadline, statement, lambda: self._run(statement, params))
            if statement.target is not None:
                self._locks.committed({statement.target})
        finally:
            self._locks.release(self)
            self._transaction = None
        if statement.temporary and statement.target:
            self._temporary.add(statement.target)
        return result

    def _change(self, transaction: Transaction, statement: Statement, rows: list[Params]) -> Result:
        deadline = self._lock(statement)
        count, result = 0, None
        for params in rows:

            def attempt(params: Params = params) -> Result:
                transaction.see(statement.tables)
                return self._run(statement, params)

            result = self._again_on_conflict(deadline, statement, attempt, transaction)
            transaction.done(statement, params)
            count += result.affected
        assert result is not None  # noqa: S101  # a batch has rows
        return result if len(rows) == 1 else result.with_total(count)

    def _read(self, statement: Statement, params: Params) -> Result:
        if _DDL_COLLATION.match(statement.text):
            return self._told(key="DEFAULT_DDL_COLLATION", value=self._ddl_collation, level="ACCOUNT")
        transaction = self._transaction
        if transaction is None or not transaction.has_changes:
            return self._run(statement, params)
        deadline = time.monotonic() + self._lock_timeout_s

        def attempt() -> Result:
            transaction.see(statement.tables)
            return self._run(statement, params)

        return self._again_on_conflict(deadline, statement, attempt, transaction)

    def _lock(self, statement: Statement) -> float:
        """Wait for the lock that it needs. Returns the time at which it has to give up, as of time.monotonic()."""
        deadline = time.monotonic() + self._lock_timeout_s
        if statement.locks and statement.target is not None and statement.target not in self._temporary:
            self._locks.acquire(self, [statement.target], self._lock_timeout_s, self._is_cancelled)
        return deadline

    def _again_on_conflict(
        self,
        deadline: float,
        statement: Statement,
        attempt: Callable[[], Result],
        transaction: Transaction | None = None,
    ) -> Result:
        """Where DuckDB's transactions meet, Snowflake's wait for each other."""
        while True:
            try:
                return attempt()
            except ConflictError as error:
                if transaction is not None:
                    transaction.undo()
                if self._cancelled:
                    raise CancelledError from error
                if time.monotonic() >= deadline:
                    raise LockError(statement.target or "?", str(error)) from error
                time.sleep(_CONFLICT_PAUSE_S)
            except BaseException:
                if transaction is not None:
                    transaction.undo()
                raise

    def _run(self, statement: Statement, params: Params) -> Result:
        cursor = self.state.cursor()
        with as_snowflake():
            cursor.execute(statement.sql, binding_params=params, server=True)
            return result_of(cursor, statement.type_id)

    def _success(self) -> Result:
        return self._told(status="Statement executed successfully.")

    def _told(self, **row: str) -> Result:
        """One row."""
        cursor = self.state.cursor()
        columns = [f"'{text}' AS \"{name}\"" for name, text in row.items()]
        cursor.execute(f"SELECT {', '.join(columns)}", server=True)
        return result_of(cursor, 0)

    # -- the transaction ------------------------------------------------------------------------------------------

    def _new(self) -> Transaction:
        return Transaction(self._duck, self._locks, self._run)

    def _commit(self) -> None:
        transaction = self._transaction
        if transaction is None:
            return
        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                transaction.commit()
                break
            except ConflictError as error:
                if time.monotonic() >= deadline:
                    self._rollback()
                    raise LockError("?", str(error)) from error
                time.sleep(_CONFLICT_PAUSE_S)
        self._transaction = None
        self._locks.release(self)

    def _rollback(self) -> None:
        if self._transaction is not None:
            self._transaction.undo()
            self._transaction = None
        self._locks.release(self)

    def _is_cancelled(self) -> bool:
        return self._cancelled


class _Recent(OrderedDict[str, Any]):
    """The last ones by their ids: nobody asks for older ones, and they are large."""

    def __setitem__(self, key: str, value: object) -> None:
        super().__setitem__(key, value)
        while len(self) > _KEPT_RESULTS:
            self.popitem(last=False)
