"""Does a broker answer? One Metadata request over a plain socket: no client library is needed to start Kafka.

The request and its answer are in version 2, as https://kafka.apache.org/protocol gives them.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

_METADATA, _VERSION = 3, 2
_NAME = b"flowguard-dev"
_ALL_TOPICS = -1


@dataclass(frozen=True, slots=True)
class View:
    """The cluster, as one broker sees it."""

    cluster_id: str
    brokers: frozenset[int]
    leaderless: int
    """Partitions, of all topics, that nobody can read or write at this moment."""


def ask(host: str, port: int, timeout_s: float) -> View | None:
    """What the broker there says; None where none answers, or something else than a broker."""
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            head = struct.pack(f">hhih{len(_NAME)}s", _METADATA, _VERSION, 1, len(_NAME), _NAME)
            body = struct.pack(">i", _ALL_TOPICS)
            connection.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
            (size,) = struct.unpack(">i", _read(connection, 4))
            return _view(_read(connection, size))
    except (OSError, struct.error, UnicodeDecodeError):
        return None


def _read(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionResetError
        parts += part
    return bytes(parts)


class _Answer:
    """Reads field after field. Raises struct.error past the end."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def number(self, kind: str = "i") -> int:
        """`i`: 4 bytes, `h`: 2, `b`: 1."""
        (value,) = struct.unpack_from(f">{kind}", self._content, self._at)
        self._at += struct.calcsize(kind)
        return int(value)

    def text(self) -> str:
        """Empty for null."""
        size = max(0, self.number("h"))
        text = self._content[self._at : self._at + size].decode()
        self._at += size
        return text

    def times(self) -> range:
        """One for each element of the array that follows."""
        return range(self.number())


def _view(content: bytes) -> View:
    answer = _Answer(content)
    answer.number()  # correlation id
    brokers = set()
    for _ in answer.times():
        brokers.add(answer.number())
        answer.text(), answer.number(), answer.text()  # host, port, rack
    cluster_id = answer.text()
    answer.number()  # controller
    leaderless = 0
    for _ in answer.times():
        answer.number("h"), answer.text(), answer.number("b")  # error, name, internal
        for _ in answer.times():
            answer.number("h"), answer.number()  # error, index
            leaderless += answer.number() < 0
            for _ in range(2):  # replicas, in-sync replicas
                for _ in answer.times():
                    answer.number()
    return View(cluster_id, frozenset(brokers), leaderless)
