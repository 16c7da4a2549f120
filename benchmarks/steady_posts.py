"""A client that posts events at a steady rate: each request when it is due, whatever became of the ones before.

`python -m benchmarks.steady_posts PORT NAME EVENTS RATE SIZE`, with SIZE events a request: writes when the first one is
due (seconds since 1970), then posts; their ids are NAME-0, NAME-1, ...
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import time

import uvloop

from benchmarks.clicks import click

_CONNECTIONS = 64
"""Events go to them in turn. The gateway answers one request of a connection at a time."""
_AHEAD_S = 0.5


async def _post(port: int, due: list[tuple[float, bytes]]) -> None:
    """On one connection, without waiting for the answers before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def answers() -> None:
        for _ in due:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 202"), head
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))

    reading = asyncio.create_task(answers())
    for at, request in due:
        if (wait := at - time()) > 0:
            await asyncio.sleep(wait)
        writer.write(request)
    await reading
    writer.close()


async def _run(port: int, name: str, events: int, rate: float, size: int) -> None:
    requests = []
    for first in range(0, events, size):
        some = range(first, min(first + size, events))
        body = json.dumps([{"event_id": f"{name}-{number}", **click(number)} for number in some]).encode()
        head = b"POST /v1/events/clicks HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        requests.append(b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body))
    start = time() + _AHEAD_S
    print(start, flush=True)
    due = [(start + number * size / rate, request) for number, request in enumerate(requests)]
    await asyncio.gather(*(_post(port, due[one::_CONNECTIONS]) for one in range(_CONNECTIONS)))


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
