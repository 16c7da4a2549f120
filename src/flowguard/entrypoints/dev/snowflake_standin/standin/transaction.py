"""A transaction with Snowflake's isolation on DuckDB's.

DuckDB's transaction sees its snapshot; Snowflake's statement sees what others have committed before it (READ
COMMITTED), and its failure undoes that statement only. So when others have committed to a table that a statement uses,
and after a failure, DuckDB's transaction is rolled back and what succeeded in it is run again, on a new snapshot. The
locks are held meanwhile: nobody else has changed the tables that it has updated, deleted from or merged into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import duckdb

from .errors import as_snowflake
from .locks import TableLocks
from .statements import Params, Statement

Run = Callable[[Statement, Params], object]


class Transaction:
    """DuckDB's one begins as late as at the first statement that needs it: after the wait for a lock."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, locks: TableLocks, run: Run) -> None:
        self._connection = connection
        self._locks = locks
        self._run = run
        self._done: list[tuple[Statement, Params]] = []
        self._begun = False
        self._snapshot = 0

    @property
    def has_changes(self) -> bool:
        return bool(self._done)

    def see(self, tables: Iterable[str]) -> None:
        """Have a snapshot in which these tables are as others have committed them. Raises ConflictError."""
        if self._begun and self._locks.changed_since(self._snapshot, tables):
            self.undo()
        if self._begun:
            return
        # Taken before: what is committed between the two is looked for again, which only costs time.
        self._snapshot = self._locks.snapshot()
        with as_snowflake():
            self._connection.begin()
        self._begun = True
        for statement, params in self._done:
            self._run(statement, params)

    def done(self, statement: Statement, params: Params) -> None:
        """It succeeded: it is part of the transaction."""
        self._done.append((statement, params))

    def undo(self) -> None:
        """Back to before its begin, for DuckDB only: `see` runs again what is done."""
        if self._begun:
            self._begun = False
            self._connection.rollback()

    def commit(self) -> None:
        """Raises ConflictError: then `see` and commit again."""
        if self._done:
            self.see(())
            try:
                with as_snowflake():
                    self._connection.commit()
            except BaseException:
                self._begun = False  # DuckDB has rolled it back
                raise
            self._begun = False
            self._locks.committed({statement.target for statement, _ in self._done if statement.target})
        self.undo()
