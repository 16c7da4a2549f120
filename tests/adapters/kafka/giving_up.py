"""Having a group give up one of its members: as its coordinator does with one that went silent, and at once.

No client has a call for it, as it is not the member that says it: so the request is written here, byte by byte
(https://kafka.apache.org/protocol: LeaveGroup 3, ConsumerGroupHeartbeat 0 with the epoch that means leaving).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

_LEAVE_GROUP = 13
_CONSUMER_GROUP_HEARTBEAT = 68
_LEAVING = -1
_ACCEPTED = 0


def give_up(bootstrap: str, group: str, member_id: str, *, consumer_protocol: bool = False) -> None:
    """The member is not told. Every broker is asked, as one of them coordinates the group."""
    if consumer_protocol:
        body = (
            b"\0" + _compact(group) + _compact(member_id) + struct.pack(">i", _LEAVING)
            + _compact(None) * 2 + struct.pack(">i", -1) + b"\0" * 4
        )  # fmt: skip
        request = _header(_CONSUMER_GROUP_HEARTBEAT, 0) + body
        answers = [struct.unpack_from(">h", answer, 9) for answer in _answers(bootstrap, request)]
    else:
        body = _text(group) + struct.pack(">i", 1) + _text(member_id) + _text(None)
        answers = [
            struct.unpack_from(">h", answer, 8) for answer in _answers(bootstrap, _header(_LEAVE_GROUP, 3) + body)
        ]
    assert (_ACCEPTED,) in answers, answers


def _header(api: int, version: int) -> bytes:
    return struct.pack(">hhi", api, version, 1) + _text("tests")


def _text(value: str | None) -> bytes:
    if value is None:
        return struct.pack(">h", -1)
    return struct.pack(">h", len(value)) + value.encode()


def _compact(value: str | None) -> bytes:
    return b"\0" if value is None else bytes([len(value) + 1]) + value.encode()


def _answers(bootstrap: str, request: bytes) -> Iterator[bytes]:
    for broker in bootstrap.split(","):
        host, port = broker.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.makefile("rb")
            (length,) = struct.unpack(">i", answer.read(4))
            yield answer.read(length)
            answer.close()
