"""Orders through real processes and a real PostgreSQL: placed once, sent, and landed once, whatever dies in between."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flowguard.domain import payload
from tests.application.ordering import order
from tests.e2e.pipeline import DEADLINE_S, Installation, Pipeline, wait_until
from tests.servers.postgres import QUICK, running_postgres

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

_DIES_BEFORE_ITS_MARK = """
import os, signal, sys
from flowguard.adapters.postgres import PostgresOutbox
from flowguard.entrypoints.cli.main import run
PostgresOutbox.mark_sent = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sys.argv = ["flowguard", "relay", "outbox", "--once"]
run()
"""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


def ask(pipeline: Pipeline, method: str, path: str, body: object = None, key: str | None = None) -> Answer:
    headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
    with closing(HTTPConnection("127.0.0.1", pipeline.port, timeout=DEADLINE_S)) as connection:
        connection.request(method, path, None if body is None else payload.encode(body), headers)
        response = connection.getresponse()
        told = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, told, json.loads(response.read()))


def place(pipeline: Pipeline, order_id: str, key: str | None = None) -> Answer:
    return ask(pipeline, "POST", "/v1/orders", order(order_id=order_id), key)


def orders(installation: Installation) -> dict[str, int]:
    figures: dict[str, int] = installation.command("status")["streams"]["orders"]
    return figures


def test_a_relay_that_dies_between_the_log_and_its_mark_makes_nothing_land_twice(
    tmp_path: Path, postgres_url: str
) -> None:
    with Pipeline(tmp_path, orders_url=postgres_url, relay_outbox="false") as pipeline:
        pipeline.start()
        pipeline.wait_ready()
        assert [place(pipeline, f"o{number}").status for number in range(5)] == [201] * 5
        for tries in (1, 2):
            done = subprocess.run(
                [sys.executable, "-c", _DIES_BEFORE_ITS_MARK],
                cwd=tmp_path,
                env=pipeline.environment,
                capture_output=True,
                check=False,
            )
            assert done.returncode == -9, done.stderr.decode()
            assert orders(pipeline)["logged"] == 5 * tries
        assert pipeline.command("relay", "outbox", "--once")["messages"] == {"raw.orders.v1": 5}
        assert pipeline.command("relay", "outbox", "--once")["messages"] == {}
        assert orders(pipeline)["logged"] == 15
        pipeline.wait_landed()
        assert orders(pipeline)["landed"] == 5
        assert pipeline.run("audit").returncode == 0
        assert pipeline.stop() == 0


def test_one_key_sent_to_two_gateways_at_once_places_one_order_and_outlives_both(
    tmp_path: Path, postgres_url: str
) -> None:
    rounds, at_once = 8, 6
    with ExitStack() as stack, ThreadPoolExecutor(at_once) as pool:
        gateways = [stack.enter_context(Pipeline(tmp_path, orders_url=postgres_url)) for _ in range(2)]
        gateways[0].command("migrate")
        for one in gateways:
            one.start("gateway")
            one.wait_ready()
        first: list[Answer] = []
        for number in range(rounds):
            sent = [pool.submit(place, gateways[each % 2], f"o{number}", f"k{number}") for each in range(at_once)]
            answers = [one.result() for one in sent]
            assert {one.status for one in answers} == {201}
            assert len({json.dumps(one.body) for one in answers}) == 1
            assert ["idempotent-replayed" in one.headers for one in answers].count(False) == 1
            first.append(answers[0])
        wait_until(lambda: orders(gateways[0])["logged"] == rounds, "each order is in the log once")
        gateways[0].kill()
        assert gateways[1].stop() == 0
        gateways[0].start("gateway")
        gateways[0].wait_ready()
        for number, answer in enumerate(first):
            again = place(gateways[0], f"o{number}", f"k{number}")
            assert (again.status, again.body) == (answer.status, answer.body)
        assert place(gateways[0], "another", "k0").body["type"] == "urn:flowguard:problem:idempotency-key-reused"
        assert place(gateways[0], "o0").status == 409
        assert orders(gateways[0])["logged"] == rounds
        assert gateways[0].stop() == 0


def test_while_postgres_is_down_only_orders_wait_and_it_recovers_by_itself(tmp_path: Path) -> None:
    click = {"user_id": "u", "session_id": "s", "item_id": "1", "ad_id": "a"}
    with running_postgres(tmp_path / "postgres", QUICK) as server:
        settings = {"orders_url": server.url, "database_timeout_s": "2"}
        Installation(tmp_path, **settings).command("migrate")
        server.stop()
        with Pipeline(tmp_path, **settings) as pipeline:
            pipeline.start()
            pipeline.wait_ready()
            assert ask(pipeline, "POST", "/v1/events/clicks", click).status == 202
            refused = place(pipeline, "o1", "k1")
            assert refused.status == 503
            assert refused.headers["retry-after"] == "1"
            assert "with the same Idempotency-Key, is safe" in refused.body["detail"]
            ready = ask(pipeline, "GET", "/health/ready")
            assert (ready.status, ready.body["status"]) == (200, "degraded")
            assert list(ready.body["degraded"]) == ["orders"]

            server.start()
            wait_until(lambda: place(pipeline, "o1", "k1").status == 201, "orders are taken again")
            wait_until(lambda: ask(pipeline, "GET", "/health/ready").body["status"] == "ok", "all is well again")
            wait_until(lambda: orders(pipeline)["landed"] == 1, "the order's event lands")

            server.kill()
            assert place(pipeline, "o2", "k2").status == 503
            assert ask(pipeline, "POST", "/v1/events/clicks", click).status == 202
            server.start()
            wait_until(lambda: place(pipeline, "o2", "k2").status == 201, "orders are taken again")
            wait_until(lambda: orders(pipeline)["landed"] == 2, "the order's event lands")
            assert pipeline.run("audit").returncode == 0
            assert pipeline.stop() == 0
