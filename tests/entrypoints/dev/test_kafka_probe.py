"""What is no broker is never taken for one."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flowguard.entrypoints.dev.free_ports import is_free, some_free
from flowguard.entrypoints.dev.kafka_probe import ask

HOST = "127.0.0.1"


@contextmanager
def _server_that_answers(answer: bytes) -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        struct.pack(">i", -1),
        struct.pack(">i", 8) + b"short",
        struct.pack(">iii", 8, 1, 1_000_000),
    ],
)
def test_another_server_is_no_broker(answer: bytes) -> None:
    with _server_that_answers(answer) as port:
        assert ask(HOST, port, 5.0) is None


def test_a_server_that_says_nothing_is_no_broker() -> None:
    with socket.create_server((HOST, 0)) as server:
        assert ask(HOST, server.getsockname()[1], 0.1) is None


def test_nobody_there_is_no_broker() -> None:
    assert ask(HOST, some_free(HOST), 5.0) is None


def test_a_port_is_free_until_somebody_listens_there() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(HOST, port)
    assert is_free(HOST, port)
