"""Noticing that a server has stopped answering: the driver itself would wait for ever."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Thread
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection


class Watch:
    """Cuts the connection of whoever made no progress for `patience_s` seconds; the driver then says that it broke.

    The server's own statement_timeout cannot do this: a server that is suspended, or whose disk hangs, keeps no time.
    One connection is watched at a time. Its thread starts with the first one, and ends with `close`.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._changed = Condition()
        self._watched: Connection | None = None
        self._deadline = 0.0
        self._thread: Thread | None = None
        self._closed = False

    @contextmanager
    def over(self, connection: Connection) -> Iterator[None]:
        """Watch it meanwhile."""
        with self._changed:
            self._watched = connection
            self._deadline = monotonic() + self._patience_s
            if self._thread is None and not self._closed:
                self._thread = Thread(target=self._work, name="flowguard-postgres-watch", daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._watched = None

    def progress(self) -> None:
        """The server took or gave something just now."""
        self._deadline = monotonic() + self._patience_s

    def cut(self) -> None:
        """Do not wait any longer."""
        with self._changed:
            self._cut()

    def close(self) -> None:
        """End the thread. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _work(self) -> None:
        with self._changed:
            while not self._closed:
                if self._watched is None:
                    self._changed.wait()
                elif (left := self._deadline - monotonic()) > 0:
                    self._changed.wait(left)
                else:
                    self._cut()

    def _cut(self) -> None:
        connection, self._watched = self._watched, None
        if connection is None:
            return
        # Of a copy: the driver closes its own, and nobody else's, when it finds the other end gone. It may be closed.
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as own:
            own.shutdown(socket.SHUT_RDWR)
