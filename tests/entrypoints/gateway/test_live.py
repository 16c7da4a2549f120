"""The figures, for machines and for open pages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from http.client import HTTPResponse
from typing import Any

import msgspec

from flowguard.domain.errors import TransientError
from tests.entrypoints.gateway.running import DEADLINE_S, Gateway, eventually, running

ROW: dict[str, object] = {
    "event_id": "e1", "event_type": "clicks", "schema_version": 1, "source_topic": "raw.clicks.v1",
    "producer_service": "shop", "ingestion_id": "raw.clicks.v1-0-0", "occurred_at": datetime(2026, 1, 1, tzinfo=UTC),
    "ingested_at": datetime(2026, 1, 2, tzinfo=UTC), "payload": '{"a":"<b>\\n"}', "total": Decimal("1.50"),
}  # fmt: skip


@contextmanager
def opened(gateway: Gateway) -> Iterator[HTTPResponse]:
    connection = gateway.connect()
    connection.request("GET", "/v1/stream")
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def next_event(stream: HTTPResponse) -> tuple[str, Any]:
    """(name, data) of the next server-sent event that has one."""
    name = ""
    while line := stream.readline().decode().rstrip("\n"):
        kind, _, value = line.partition(": ")
        if kind == "event":
            name = value
        if kind == "data":
            return name, msgspec.json.decode(value)
    return next_event(stream) if not stream.isclosed() else ("", None)


def test_status_is_what_the_observer_says(gateway: Gateway) -> None:
    answer = gateway.get("/v1/status")
    assert answer.status == 200
    assert answer.body == {"streams": {"clicks": {"topic": "raw.clicks.v1", "logged": 1}}}
    assert answer.headers["cache-control"] == "no-store"


def test_status_that_cannot_be_read_is_a_503(gateway: Gateway) -> None:
    gateway.watcher.error = TransientError("the sink is away")
    answer = gateway.get("/v1/status")
    answer.check_problem(503, "unavailable")
    gateway.check_alive()


def test_an_open_page_is_told_the_figures_and_the_last_events(gateway: Gateway) -> None:
    gateway.watcher.rows = [ROW, {**ROW, "payload": "x" * 10_000}]
    with opened(gateway) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        name, data = next_event(stream)
        assert name == "status"
        assert data["streams"]["clicks"]["topic"] == "raw.clicks.v1"
        assert data["version"]
        assert data["recent"][0] == {
            "event_id": "e1", "event_type": "clicks", "producer_service": "shop", "ingestion_id": "raw.clicks.v1-0-0",
            "occurred_at": "2026-01-01T00:00:00Z", "ingested_at": "2026-01-02T00:00:00Z", "payload": '{"a":"<b>\\n"}',
        }  # fmt: skip
        assert len(data["recent"][1]["payload"]) < 500
        assert next_event(stream)[0] == "status"


def test_an_open_page_is_told_when_the_figures_cannot_be_read_and_when_they_can_again(gateway: Gateway) -> None:
    gateway.watcher.error = TransientError("the sink is away")
    with opened(gateway) as stream:
        assert next_event(stream) == ("trouble", {"detail": "the sink is away"})
        gateway.watcher.error = None
        name = "trouble"
        while name == "trouble":
            name, _ = next_event(stream)
        assert name == "status"


def test_many_pages_cost_no_more_than_one() -> None:
    with running() as gateway:
        began = time.monotonic()
        told: list[int] = []

        def watch() -> None:
            with opened(gateway) as stream:
                for _ in range(3):
                    next_event(stream)
                told.append(1)

        pages = [threading.Thread(target=watch) for _ in range(12)]
        for page in pages:
            page.start()
        for page in pages:
            page.join(DEADLINE_S)
        seconds = time.monotonic() - began
        assert len(told) == 12
        assert gateway.watcher.asked <= seconds + 2
        assert gateway.watcher.threads == {"flowguard-status"}


def test_nobody_looks_when_no_page_is_open(gateway: Gateway) -> None:
    with opened(gateway) as stream:
        next_event(stream)
    eventually(lambda: len(gateway.server._server.server_state.tasks) == 0)
    assert gateway.watcher.asked <= 2


def test_events_are_taken_while_the_figures_take_their_time(gateway: Gateway) -> None:
    gateway.watcher.held = threading.Event()
    with opened(gateway):
        eventually(lambda: gateway.watcher.asked == 1)
        gateway.check_alive()


def test_an_open_page_does_not_hold_a_shutdown_up() -> None:
    with running(drain_s=3600) as gateway, opened(gateway) as stream:
        next_event(stream)
        gateway.stop.set()
        gateway.thread.join(DEADLINE_S)
        assert not gateway.thread.is_alive()
        assert gateway.closed == ["publisher"]


def test_figures_that_never_come_do_not_hold_a_shutdown_up() -> None:
    with running(drain_s=3600) as gateway:
        gateway.watcher.held = threading.Event()
        with opened(gateway):
            eventually(lambda: gateway.watcher.asked == 1)
            gateway.stop.set()
            gateway.thread.join(DEADLINE_S)
            assert not gateway.thread.is_alive()
