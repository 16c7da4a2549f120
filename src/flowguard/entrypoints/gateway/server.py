"""uvicorn, run by our rules: it stops when it is told to, drains, and says where it listens."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING

import uvicorn

from flowguard.domain.errors import ConfigurationError
from flowguard.entrypoints.gateway.app import begin_shutdown

if TYPE_CHECKING:
    from starlette.applications import Starlette

_BACKLOG = 2048
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where a listener on every address is reached from here


class GatewayServer:
    """Serves an app on one address, bound as soon as this is made: port 0 has become a real one in `url`.

    Raises ConfigurationError where the address cannot be had, in one line that says how to mend it.
    """

    def __init__(self, app: Starlette, host: str, port: int, *, drain_s: float = 20.0) -> None:
        self._socket = _bind(host, port)
        self.host: str = host
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            loop="auto",  # uvloop where there is one
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=max(1, ceil(drain_s)),
        )
        self._server = _Server(config, app)

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        host = _ANY.get(self.host, self.host) or "127.0.0.1"
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def run(self, stop: threading.Event, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is set, by whichever thread or signal handler; then finish what is under way and return.

        `on_ready` is called once requests are answered. Signals are left alone: their handlers are the caller's. In the
        main thread or any other.
        """
        self._server.stop = stop
        self._server.on_ready = on_ready
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self.close()

    def hurry(self) -> None:
        """Wait for no request any more, once `stop` is set: what a second Ctrl-C asks for."""
        self._server.force_exit = True

    def close(self) -> None:
        """Give the address back. Idempotent; `run` does it at its end."""
        self._socket.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app
        self.stop = threading.Event()
        self.on_ready: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_ready()

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self.stop.is_set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        begin_shutdown(self._app)
        await asyncio.sleep(0)  # streams that nobody reads end before their connections are asked to
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(host: str, port: int) -> socket.socket:
    where = f"port {port} on {host or 'every address'}"
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigurationError(f"--host {host!r} is no address of this machine: {error.strerror}") from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            text = f"{where} is taken: stop what listens there, or choose another one with --port (0: any free one)"
        elif error.errno == errno.EACCES:
            text = f"{where} needs more rights than this process has: choose one from 1024 on with --port"
        else:
            text = f"{where} cannot be listened on: {error.strerror or error}"
        raise ConfigurationError(text) from error
    return listener
