"""Ports on loopback."""

from __future__ import annotations

import random
import socket

from flowguard.domain.errors import ConfigurationError


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # As servers do: connections of the one before that are still closing do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def require_free(host: str, port: int) -> None:
    """Raises ConfigurationError where the port is taken."""
    if not is_free(host, port):
        raise ConfigurationError(f"port {port} is taken: stop what listens there, or choose another by --port (0: any)")


def some_free(host: str) -> int:
    """One that no system gives to the sockets of clients by itself: it is still free a moment later."""
    while not is_free(host, port := random.randrange(20_000, 32_000)):
        pass
    return port
