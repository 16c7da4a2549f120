"""Does PostgreSQL take connections? Its start-up exchange over a plain socket: no client library is needed.

The messages are those of protocol 3.0, https://www.postgresql.org/docs/current/protocol-message-formats.html.
"""

from __future__ import annotations

import socket
import struct

_PROTOCOL = 196_608  # 3.0
_AUTHENTICATION = b"R"
_TERMINATE = b"X\0\0\0\4"


def answers(host: str, port: int, user: str, database: str, timeout_s: float) -> bool:
    """Whether a server there lets this user in. One that starts or stops says an error instead."""
    body = struct.pack(">i", _PROTOCOL) + b"".join(
        word.encode() + b"\0" for word in ("user", user, "database", database, "")
    )
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(body) + 4) + body)
            first = connection.recv(1)
            connection.sendall(_TERMINATE)
    except OSError:
        return False
    return first == _AUTHENTICATION
