"""`flowguard`, killed or frozen at a named step of its batches, by itself.

    python -m tests.faults.saboteur SIGKILL "rows copied" 2 consume

dies right after its second COPY of rows. Steps are seen where the driver meets the server and where the source takes a
commit; FlowGuard's own code is as it always is.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import psycopg

from flowguard.adapters.sqlite import SqliteEventSource
from flowguard.entrypoints.cli.main import run


class Step(StrEnum):
    """What was done a moment ago; in the order of a batch."""

    CLAIMED = "partitions claimed"
    LETTERED = "dead letters put"
    MOVED = "positions moved"
    IN_COPY = "the first of the rows copied"
    STAGED = "rows copied to the staging table"
    MERGED = "rows inserted from the staging table"
    ABSORBED = "duplicates remembered"
    COPIED = "rows copied"
    COMMITTED = "batch committed"
    GROUP_COMMITTED = "offsets committed"


_STAGING = "fg_stage"
_ON_SNOWFLAKE: dict[str, Step] = {
    "SET EPOCH = p.EPOCH + 1, OWNER": Step.CLAIMED,
    "UPDATE FG_DEAD_LETTER_TURN": Step.LETTERED,
    "SET NEXT_OFFSET": Step.MOVED,
    "COPY INTO FG_STAGED": Step.STAGED,
    'INSERT INTO "': Step.COPIED,
    "INSERT INTO FG_ABSORBED": Step.ABSORBED,
}
"""Part of the statement that has done it."""
_ON_COMMIT = {Step.CLAIMED: Step.CLAIMED, Step.LETTERED: Step.LETTERED, Step.MOVED: Step.COMMITTED}
"""What has happened only then."""


class Saboteur:
    """Sends its own process the signal when the step is reached for the `times`th time, and says so before."""

    def __init__(self, act: signal.Signals, step: Step, times: int) -> None:
        self._act = act
        self._step = step
        self._left = times
        self._seen: set[Step] = set()  # in the transaction that is open

    def reached(self, step: Step) -> None:
        if step is not self._step:
            return
        self._left -= 1
        if self._left == 0:
            print(f"{self._act.name}: {step}", file=sys.stderr, flush=True)
            # To this very thread: it does not go on for a moment, while another one takes the signal.
            signal.pthread_kill(threading.get_ident(), self._act)

    def executed(self, statement: object) -> None:
        """The server has answered the statement."""
        text = str(statement)
        if "INSERT INTO fg_positions" in text:
            self._seen.add(Step.CLAIMED)
        elif "INSERT INTO fg_dead_letters" in text:
            self._seen.add(Step.LETTERED)
        elif "UPDATE fg_positions" in text:
            self._seen.add(Step.COMMITTED)
            self.reached(Step.MOVED)
        elif "INSERT INTO fg_absorbed" in text:
            self.reached(Step.ABSORBED)
        elif "INSERT INTO" in text and _STAGING in text:
            self.reached(Step.MERGED)

    def executed_on_snowflake(self, statement: str) -> None:
        """The server has answered the statement."""
        if statement == "COMMIT":
            self.committed()
        elif statement == "ROLLBACK":
            self._seen.clear()
        for part, step in _ON_SNOWFLAKE.items():
            if part in statement:
                if step in _ON_COMMIT:
                    self._seen.add(_ON_COMMIT[step])
                if step not in {Step.CLAIMED, Step.LETTERED}:
                    self.reached(step)

    def committed(self) -> None:
        seen, self._seen = self._seen, set()
        for step in seen:
            self.reached(step)

    def copied(self, statement: object) -> None:
        self.reached(Step.STAGED if _STAGING in str(statement) else Step.COPIED)

    def watch(self) -> None:
        """From here on."""
        if os.environ.get("FLOWGUARD_SINK_URL", "").startswith("snowflake:"):
            from snowflake.connector.cursor import SnowflakeCursor  # which takes a while

            _after(SnowflakeCursor, "execute", lambda _, statement, *__: self.executed_on_snowflake(statement))
        for owner, name, done in (
            (psycopg.Cursor, "execute", lambda _, statement, *__: self.executed(statement)),
            (psycopg.Cursor, "executemany", lambda _, statement, *__: self.executed(statement)),
            (psycopg.Connection, "commit", lambda _: self.committed()),
            (SqliteEventSource, "commit", lambda *_: self.reached(Step.GROUP_COMMITTED)),
        ):
            _after(owner, name, done)
        self._watch_copies()

    def _watch_copies(self) -> None:
        begin, write_row = psycopg.Cursor.copy, psycopg.Copy.write_row
        begun: list[psycopg.Copy] = []  # whose first row is on its way

        @contextmanager
        def copy(cursor: Any, statement: Any, *arguments: Any, **options: Any) -> Iterator[psycopg.Copy]:  # noqa: ANN401
            with begin(cursor, statement, *arguments, **options) as copying:
                yield copying
            begun.clear()
            self.copied(statement)

        def write_first(copying: psycopg.Copy, row: Sequence[Any]) -> None:
            write_row(copying, row)
            if not begun:
                begun.append(copying)
                _send(copying)
                self.reached(Step.IN_COPY)

        psycopg.Cursor.copy = copy  # type: ignore[method-assign, assignment]
        psycopg.Copy.write_row = write_first  # type: ignore[method-assign, assignment]


def _send(copying: psycopg.Copy) -> None:
    """What the driver holds back until it is more."""
    formatter = copying.formatter
    rows, formatter._write_buffer = formatter._write_buffer, bytearray()
    copying._write(rows)
    while copying.connection.pgconn.flush():
        pass


def _after(owner: type, name: str, done: Callable[..., None]) -> None:
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # whatever the original takes and returns
        result = original(*arguments, **options)
        done(*arguments)
        return result

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    _, act, step, times, *rest = sys.argv
    Saboteur(signal.Signals[act], Step(step), int(times)).watch()
    sys.argv = ["flowguard", *rest]
    run()
