"""Noticing that a server has stopped answering: the driver itself would wait for ever."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from psycopg import Connection


class Watch:
    """Cuts the connection of whoever makes no progress for too long; the driver then says that it broke.

    The server's own statement_timeout cannot do this: a server that is suspended, or whose disk hangs, keeps no time.
    One connection is watched at a time. Its thread starts with the first one, and ends with `close`: whoever still
    waits then, or begins to, is cut off.
    """

    def __init__(self) -> None:
        self._patience_s = 0.0
        self._changed = Condition()
        self._watched: Connection[Any] | None = None
        self._deadline = 0.0
        self._thread: Thread | None = None
        self._closed = False

    @contextmanager
    def over(self, connection: Connection[Any], patience_s: float) -> Iterator[None]:
        """Watch it meanwhile. It may be silent for so many seconds."""
        self.begin(connection, patience_s)
        try:
            yield
        finally:
            with self._changed:
                self._watched = None

    def begin(self, connection: Connection[Any], patience_s: float) -> None:
        """Watch it until another one is watched."""
        with self._changed:
            self._watched = connection
            self._patience_s = patience_s
            self._deadline = monotonic() + patience_s
            if self._closed:
                self._cut()
            elif self._thread is None:
                self._thread = Thread(target=self._work, name="flowguard-postgres-watch", daemon=True)
                self._thread.start()
            self._changed.notify()

    def progress(self) -> None:
        """The server took or gave something just now."""
        self._deadline = monotonic() + self._patience_s

    def close(self) -> None:
        """Wait no longer, for anybody. Idempotent."""
        with self._changed:
            self._closed = True
            self._cut()
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
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as own:
            own.shutdown(socket.SHUT_RDWR)
