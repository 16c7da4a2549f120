"""A gateway on a free loopback port, over real HTTP, with memory behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

import msgspec

from flowguard.adapters.system import SystemClock
from flowguard.domain.catalog import Catalog
from flowguard.domain.events import Envelope
from flowguard.entrypoints.gateway import GatewayServer, PipelineObserver, create_app
from flowguard.entrypoints.gateway.health import Check
from flowguard.settings import Settings
from tests.application.ordering import Counter
from tests.application.publishing import CATALOG, CLICK, Desk

DEADLINE_S = 20.0
GOOD = msgspec.json.encode(CLICK)
JSON = "application/json"
PROBLEM = "application/problem+json"


class Watcher(PipelineObserver):
    """Says what it is told to say, and counts how often it was asked. `held`: waits for it before it answers."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.figures: Mapping[str, object] | None = None
        self.rows: list[Mapping[str, object]] = []
        self.held: threading.Event | None = None
        self.threads: set[str] = set()

    def status(self) -> Mapping[str, object]:
        self.asked += 1
        self.threads.add(threading.current_thread().name)
        if self.held is not None:
            self.held.wait(DEADLINE_S)
        if self.error is not None:
            raise self.error
        return self.figures or {"streams": {"clicks": {"topic": "raw.clicks.v1", "logged": self.asked}}}

    def recent(self, stream: str | None = None, limit: int = 20) -> Sequence[Mapping[str, object]]:
        return self.rows[:limit]


@dataclass(frozen=True)
class Answer:
    """What came back. `body` is decoded where it is JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def verdicts(self) -> list[str]:
        return [one["verdict"] for one in self.body["results"]]

    @property
    def pointers(self) -> list[list[str]]:
        return [[error["pointer"] for error in one["errors"]] for one in self.body["results"]]

    def check_problem(self, status: int, name: str) -> None:
        assert self.status == status, self.body
        assert self.headers["content-type"] == PROBLEM
        assert self.body["type"] == f"urn:flowguard:problem:{name}"
        assert self.body["status"] == status
        assert self.body["title"]
        assert self.body["detail"]
        assert "Traceback" not in self.body["detail"]


@dataclass
class Gateway:
    """A running one. `desk` is what is behind its events, `counter` what is behind its orders."""

    server: GatewayServer
    desk: Desk
    watcher: Watcher
    stop: threading.Event
    thread: threading.Thread
    counter: Counter
    closed: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.server.url

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.server.port, timeout=DEADLINE_S)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = self.connect()
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        told = {name.lower(): value for name, value in response.headers.items()}
        is_json = "json" in told.get("content-type", "")
        return Answer(response.status, told, msgspec.json.decode(raw) if is_json else raw.decode())

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, body: bytes, path: str = "/v1/events/clicks", content_type: str = JSON, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", path, body, {"Content-Type": content_type, **named})

    def logged(self) -> list[Envelope]:
        return self.desk.logged()

    def check_alive(self) -> None:
        """It takes the next good event, and nothing but what was accepted is in its log."""
        before = self.desk.count
        assert self.post(GOOD).status == 202
        assert self.desk.count == before + 1


@contextmanager
def running(
    *,
    catalog: Catalog = CATALOG,
    parts: Mapping[str, Check] | None = None,
    drain_s: float = DEADLINE_S,
    port: int = 0,
    settings: Settings | None = None,
    orders: bool = True,
) -> Iterator[Gateway]:
    desk, watcher, closed = Desk(), Watcher(), list[str]()
    counter = Counter()

    async def close() -> None:
        closed.append("publisher")

    app = create_app(
        catalog,
        settings or Settings(),
        desk.publish,
        watcher,
        SystemClock(),
        orders=counter.place if orders else None,
        parts=parts,
        on_shutdown=close,
    )
    server = GatewayServer(app, "127.0.0.1", port, drain_s=drain_s)
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop, ready.set), name="gateway")
    thread.start()
    try:
        assert ready.wait(DEADLINE_S)
        yield Gateway(server, desk, watcher, stop, thread, counter, closed)
    finally:
        stop.set()
        if watcher.held is not None:
            watcher.held.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)
