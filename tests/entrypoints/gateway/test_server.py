"""Starting, where it listens, and stopping without losing a request."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from flowguard.domain.errors import ConfigurationError
from flowguard.entrypoints.gateway import GatewayServer
from flowguard.ports.publisher import NewRecord, Receipt
from tests.entrypoints.gateway.running import DEADLINE_S, GOOD, Answer, eventually, running

ROOT = Path(__file__).resolve().parents[3]


async def app(scope: object, receive: object, send: object) -> None:
    raise NotImplementedError


def test_port_0_becomes_a_free_one_that_is_told_before_it_serves() -> None:
    server = GatewayServer(app, "127.0.0.1", 0)  # type: ignore[arg-type]
    try:
        assert server.port > 0
        assert server.url == f"http://127.0.0.1:{server.port}"
    finally:
        server.close()
        server.close()


def test_a_wildcard_is_reached_at_the_loopback_address() -> None:
    server = GatewayServer(app, "0.0.0.0", 0)  # type: ignore[arg-type]
    server.close()
    assert server.url == f"http://127.0.0.1:{server.port}"


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError) as raised:
            GatewayServer(app, "127.0.0.1", port)  # type: ignore[arg-type]
    told = "stop what listens there, or choose another one with --port (0: any free one)"
    assert str(raised.value) == f"port {port} on 127.0.0.1 is taken: {told}"


def test_a_host_that_is_not_here_is_one_clear_line() -> None:
    with pytest.raises(ConfigurationError, match=r"port 0 on 192\.0\.2\.1 cannot be listened on"):
        GatewayServer(app, "192.0.2.1", 0)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="--host 'no such host' is no address of this machine"):
        GatewayServer(app, "no such host", 0)  # type: ignore[arg-type]


def test_a_request_under_way_is_finished_before_it_stops() -> None:
    with running() as gateway:
        let_go = threading.Event()
        begun = threading.Event()
        inner = gateway.desk.broken.inner.publish

        async def slow(topic: str, records: Sequence[NewRecord]) -> Receipt:
            begun.set()
            await asyncio.to_thread(let_go.wait, DEADLINE_S)
            return await inner(topic, records)

        gateway.desk.broken.inner.publish = slow  # type: ignore[method-assign]
        answers: list[Answer] = []
        client = threading.Thread(target=lambda: answers.append(gateway.post(GOOD)))
        client.start()
        assert begun.wait(DEADLINE_S)
        gateway.stop.set()
        eventually(lambda: _refused(gateway.server.port))
        assert gateway.closed == []
        let_go.set()
        client.join(DEADLINE_S)
        gateway.thread.join(DEADLINE_S)
        assert [one.status for one in answers] == [202]
        assert gateway.closed == ["publisher"]


def test_a_request_that_never_ends_is_given_up_after_the_drain() -> None:
    with running(drain_s=0.5) as gateway, socket.create_connection(("127.0.0.1", gateway.server.port)) as client:
        client.sendall(b"POST /v1/events/clicks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        eventually(lambda: len(gateway.server._server.server_state.tasks) == 1)
        gateway.stop.set()
        gateway.thread.join(DEADLINE_S)
        assert not gateway.thread.is_alive()
        assert gateway.closed == ["publisher"]


def test_in_a_hurry_it_waits_for_nobody() -> None:
    with running(drain_s=3600) as gateway, socket.create_connection(("127.0.0.1", gateway.server.port)) as client:
        client.sendall(b"POST /v1/events/clicks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        eventually(lambda: len(gateway.server._server.server_state.tasks) == 1)
        gateway.stop.set()
        gateway.server.hurry()
        gateway.thread.join(DEADLINE_S)
        assert not gateway.thread.is_alive()


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False


PROGRAM = """
import signal, sys, threading
from starlette.applications import Starlette
import asyncio
from flowguard.entrypoints.gateway import GatewayServer
stop = threading.Event()
app = Starlette()
app.state.closing = asyncio.Event()
signal.signal(signal.SIGINT, lambda *_: stop.set())
server = GatewayServer(app, "127.0.0.1", 0)
server.run(stop, lambda: print(server.port, flush=True))
print("drained", signal.getsignal(signal.SIGINT) is not signal.SIG_DFL, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_in_the_main_thread_a_signal_handler_of_the_callers_stops_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            assert int(process.stdout.readline()) > 0
            began = time.monotonic()
            os.kill(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "drained True\n", "")
    assert time.monotonic() - began < DEADLINE_S
