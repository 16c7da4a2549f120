"""Who may change which table: Snowflake lets one transaction at a time update, delete from or merge into a table.

An INSERT or COPY waits for nobody. A lock is held to the end of its transaction; who comes meanwhile waits in line.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from threading import Condition
from typing import Protocol

from .errors import CancelledError, LockError

MOST_WAITERS = 20
"""Of one table: another one is refused at once."""
_POLL_S = 0.05
"""How soon a cancelled statement, or an abandoned transaction, is noticed."""


class Owner(Protocol):
    """Who holds locks."""

    def abandon(self, after_s: float) -> bool:
        """Give all locks back when idle for so long; whether it did."""


class TableLocks:
    """Safe for threads. `abandoned_s`: see `Settings`."""

    def __init__(self, abandoned_s: float) -> None:
        self._abandoned_s = abandoned_s
        self._changed = Condition()
        self._held: dict[str, Owner] = {}
        self._waiting: dict[str, deque[Owner]] = {}
        self._commits = 0
        self._committed: dict[str, int] = {}

    def acquire(self, owner: Owner, tables: Iterable[str], timeout_s: float, cancelled: Callable[[], bool]) -> None:
        """Wait until the owner holds them all, in their order. Raises LockError and CancelledError."""
        deadline = time.monotonic() + timeout_s
        for table in sorted(tables):
            self._acquire(owner, table, deadline, timeout_s, cancelled)

    def release(self, owner: Owner) -> None:
        """All of them."""
        with self._changed:
            self._held = {table: one for table, one in self._held.items() if one is not owner}
            self._changed.notify_all()

    def _acquire(
        self, owner: Owner, table: str, deadline: float, timeout_s: float, cancelled: Callable[[], bool]
    ) -> None:
        with self._changed:
            if self._held.get(table) is owner:
                return
            line = self._waiting.setdefault(table, deque())
            if len(line) >= MOST_WAITERS:
                raise LockError(
                    table, f"the number of waiters for this lock exceeds the {MOST_WAITERS} statements limit"
                )
            line.append(owner)
            try:
                while table in self._held or line[0] is not owner:
                    if cancelled():
                        raise CancelledError
                    if time.monotonic() >= deadline:
                        raise LockError(table, f"the lock was not had within LOCK_TIMEOUT, {timeout_s:g} seconds")
                    holder = self._held.get(table)
                    # It releases its locks by this object: the condition is re-entrant.
                    if holder is None or not holder.abandon(self._abandoned_s):
                        self._changed.wait(_POLL_S)
                self._held[table] = owner
            finally:
                line.remove(owner)
                self._changed.notify_all()

    # -- what others have committed -------------------------------------------------------------------------------

    def committed(self, tables: Iterable[str]) -> None:
        """A transaction has changed these."""
        with self._changed:
            self._commits += 1
            self._committed.update(dict.fromkeys(tables, self._commits))

    def snapshot(self) -> int:
        """A mark of this moment."""
        with self._changed:
            return self._commits

    def changed_since(self, snapshot: int, tables: Iterable[str]) -> bool:
        """Whether a transaction that has changed any of them was committed after that moment."""
        with self._changed:
            return any(self._committed.get(table, 0) > snapshot for table in tables)
