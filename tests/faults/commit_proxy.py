"""Between a consumer and its PostgreSQL server: cuts a connection around the COMMIT of a batch, when told to.

The messages are those of protocol 3.0, https://www.postgresql.org/docs/current/protocol-message-formats.html.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_STATEMENTS = b"QP"  # Query, Parse
_READY = b"Z"
_TYPE_BYTES = 1


class Cut(Enum):
    """When the connection is cut."""

    BEFORE = "the server never hears the COMMIT"
    AFTER = "the server has committed, and its reply is lost"


class CommitProxy:
    """`url` leads to the same database as the one given, through here. Leaving the `with` ends all connections."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        assert target.hostname is not None
        assert target.port is not None
        self._target = (target.hostname, target.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        # Everything is to be read here: no encryption, and no question whether there could be any.
        self.url = target._replace(
            netloc=f"{target.username}@127.0.0.1:{port}", query="sslmode=disable&gssencmode=disable"
        ).geturl()
        self._armed: Cut | None = None
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self.cuts: list[Cut] = []
        """Those that were made."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="commit-proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for link in self._links:
            link.close()

    def arm(self, cut: Cut) -> None:
        """The next COMMIT after a COPY is cut so."""
        self._armed = cut

    def _fire(self) -> Cut | None:
        with self._lock:
            fired, self._armed = self._armed, None
            return fired

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            link = _Link(self, client, server)
            self._links.append(link)
            link.start()

    def _commits(self, link: _Link) -> bool:
        """Whether the COMMIT of this connection goes on to the server."""
        fired = self._fire()
        if fired is Cut.BEFORE:
            self.cuts.append(fired)
            link.cut()
            return False
        link.losing = fired is Cut.AFTER
        return True


class _Link:
    """One connection, of two sockets."""

    def __init__(self, proxy: CommitProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._copying = False
        self.losing = False
        """What the server answers is to be thrown away, until it is ready; then the connection is cut."""
        self._pumps = [
            threading.Thread(target=pump, name="commit-proxy-link", daemon=True)
            for pump in (self.pump_requests, self.pump_answers)
        ]

    def start(self) -> None:
        for pump in self._pumps:
            pump.start()

    def close(self) -> None:
        self.cut()
        for pump in self._pumps:
            pump.join()
        for one in (self._client, self._server):
            one.close()

    def cut(self) -> None:
        for one in (self._client, self._server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def pump_requests(self) -> None:
        with suppress(OSError):
            for kind, message in _messages(self._client, opening=True):
                if kind and kind in _STATEMENTS:
                    self._copying = self._copying or b"COPY " in message
                    if self._copying and b"COMMIT" in message:
                        self._copying = False
                        if not self._proxy._commits(self):
                            return
                self._server.sendall(message)
        self.cut()

    def pump_answers(self) -> None:
        with suppress(OSError):
            for kind, message in _messages(self._server, opening=False):
                if not self.losing:
                    self._client.sendall(message)
                elif kind == _READY:
                    self._proxy.cuts.append(Cut.AFTER)
                    break
        self.cut()


def _messages(source: socket.socket, *, opening: bool) -> Iterator[tuple[bytes, bytes]]:
    """Type and the whole message, until the other end is closed. The first one of a client has no type."""
    with source.makefile("rb") as stream:
        while True:
            kind = b"" if opening else stream.read(_TYPE_BYTES)
            length = stream.read(4)
            if len(length) < 4:
                return
            opening = False
            yield kind, kind + length + stream.read(struct.unpack(">i", length)[0] - 4)
