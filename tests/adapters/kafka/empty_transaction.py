"""A transaction that is ended before anything was sent in it: all that it leaves in a partition is its marker.

Clients send the partition's name with the first record only: so the requests are written here, byte by byte
(https://kafka.apache.org/protocol: InitProducerId 0, AddPartitionsToTxn 0, EndTxn 0).
"""

from __future__ import annotations

import socket
import struct
from time import monotonic, sleep
from uuid import uuid4

from flowguard.domain.ingestion import TopicPartition

_INIT_PRODUCER_ID, _ADD_PARTITIONS, _END = 22, 24, 26
_PATIENCE_S = 30.0


def leave_a_marker(broker: str, partition: TopicPartition) -> None:
    """`broker` (host:port) is the only one of its cluster; returns when the marker is on its way."""
    name = _text(uuid4().hex)
    deadline = monotonic() + _PATIENCE_S
    answer = _ask(broker, _INIT_PRODUCER_ID, name + struct.pack(">i", 60_000))
    while struct.unpack_from(">h", answer, 4) != (0,):  # the coordinator of transactions is being made
        assert monotonic() < deadline, answer
        sleep(0.05)
        answer = _ask(broker, _INIT_PRODUCER_ID, name + struct.pack(">i", 60_000))
    producer = answer[6:16]  # its id and its epoch
    place = struct.pack(">i", 1) + _text(partition.topic) + struct.pack(">ii", 1, partition.partition)
    added = _ask(broker, _ADD_PARTITIONS, name + producer + place)
    assert struct.unpack_from(">h", added, len(added) - 2) == (0,), added
    ended = _ask(broker, _END, name + producer + b"\0")
    assert struct.unpack_from(">h", ended, 4) == (0,), ended


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def _ask(broker: str, api: int, body: bytes) -> bytes:
    """The answer, without the number of the request."""
    host, port = broker.rsplit(":", 1)
    request = struct.pack(">hhi", api, 0, 1) + _text("tests") + body
    with socket.create_connection((host, int(port)), timeout=10) as connection, connection.makefile("rb") as answer:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (length,) = struct.unpack(">i", answer.read(4))
        return answer.read(length)[4:]
