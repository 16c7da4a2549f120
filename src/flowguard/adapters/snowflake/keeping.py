"""Threads beside a connection: one that asks it while nobody uses it, and one that says goodbye where that takes long.

None of them keeps the process alive; at its end those that are under way have a moment to end.
"""

from __future__ import annotations

import atexit
import itertools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

_GOODBYE_S: Final = 3.0
"""Longer than the connector takes for it; together, at the end of the process."""
_numbers: Final = itertools.count()


class Keeper(threading.Thread):
    """Calls `keep` again and again, `pause_s()` seconds after the last time, until `ended` is set."""

    def __init__(self, pause_s: Callable[[], float], keep: Callable[[], None]) -> None:
        super().__init__(daemon=True, name=f"snowflake-keeper-{next(_numbers)}")
        self._pause_s = pause_s
        self._keep = keep
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(self._pause_s()):
            self._keep()


class _Goodbye(threading.Thread):
    def __init__(self, connection: Any) -> None:  # noqa: ANN401  # the connector has no types
        super().__init__(daemon=True, name=f"snowflake-goodbye-{next(_numbers)}")
        self._connection = connection

    def run(self) -> None:
        quietly_closed(self._connection)


def let_go(connection: Any) -> None:  # noqa: ANN401  # the connector has no types
    """Close it. Saying goodbye to a server that hangs takes seconds: a thread of its own does it."""
    _Goodbye(connection).start()


def quietly_closed(connection: Any) -> None:  # noqa: ANN401  # the connector has no types
    """Close it, and wait for that."""
    with suppress(Exception):
        connection.close()


@atexit.register
def _end() -> None:
    """Let those that are under way end: a native thread that calls into a Python that is gone may crash the process."""
    deadline = time.monotonic() + _GOODBYE_S
    ours = [thread for thread in threading.enumerate() if isinstance(thread, Keeper | _Goodbye)]
    for thread in ours:
        if isinstance(thread, Keeper):
            thread.ended.set()
    for thread in ours:
        thread.join(max(0.0, deadline - time.monotonic()))
