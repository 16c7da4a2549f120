"""`relay outbox`, and what stands beside it: `migrate`, `check`, and `up` with orders in memory."""

from __future__ import annotations

from http.client import HTTPConnection
from pathlib import Path

import pytest

from flowguard.adapters.postgres import PostgresOrderRepository, PostgresOutbox
from flowguard.domain import payload
from tests.adapters.postgres.relaying import place
from tests.application.ordering import order
from tests.e2e.pipeline import DEADLINE_S, Pipeline, free_port, wait_until
from tests.entrypoints.cli.conftest import Cli

ONCE = ("relay", "outbox", "--once")


@pytest.fixture
def url(here: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FLOWGUARD_ORDERS_URL", postgres_url)
    return postgres_url


def test_what_makes_no_sense_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for orders_url, told in {
        "": "orders_url is empty: name the database of the outbox",
        "memory://": "lives and ends inside one process",
        "sqlite:///orders.db": "nothing here keeps orders in 'sqlite'://",
        "nonsense": "nothing here keeps orders in 'nonsense'://",
        "postgresql://host": "names no PostgreSQL database",
    }.items():
        monkeypatch.setenv("FLOWGUARD_ORDERS_URL", orders_url)
        answer = cli(*ONCE)
        assert (answer.code, answer.out) == (3, ""), orders_url
        assert told in answer.err
        assert len(answer.err.splitlines()) == 1
    assert cli("relay").code == 2


def test_a_catalog_without_orders_cannot_take_any(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "bare.py").write_text("from flowguard import BUILT_IN, Catalog\ncatalog = Catalog(BUILT_IN[:1])\n")
    monkeypatch.setenv("FLOWGUARD_CATALOG", "bare:catalog")
    monkeypatch.setenv("FLOWGUARD_ORDERS_URL", "memory://")
    answer = cli("up", "--port", "0")
    assert answer.code == 3
    assert "the catalog has no event type orders" in answer.err


@pytest.mark.postgres
def test_tables_are_made_by_migrate_and_asked_for_until_then(cli: Cli, url: str) -> None:
    answer = cli(*ONCE)
    assert answer.code == 3
    assert "run `flowguard migrate`" in answer.err
    assert any("orders 1: orders" in one for one in cli("migrate", "--json").json["migrations"])
    assert cli(*ONCE).code == 0
    found = {one["what"]: one for one in cli("check", "--json").json["checks"]}
    assert found["orders"]["verdict"] == "ok"


@pytest.mark.postgres
def test_what_waits_is_moved_once(cli: Cli, url: str) -> None:
    cli("migrate")
    orders = PostgresOrderRepository(url)
    place(orders, "abc")
    orders.close()
    answer = cli(*ONCE, "--json").json
    assert (answer["to"], answer["messages"]) == ("sqlite:///flowguard-data/log.db", {"raw.orders.v1": 3})
    assert cli(*ONCE).out == ""
    assert cli("status", "--json").json["streams"]["orders"]["logged"] == 3


@pytest.mark.postgres
def test_while_another_relay_is_at_work_once_is_told_so(cli: Cli, url: str) -> None:
    cli("migrate")
    other = PostgresOutbox(url)
    assert other.take(1) == []
    answer = cli(*ONCE)
    other.close()
    assert answer.code == 4
    assert "another relay is at work" in answer.err
    assert cli(*ONCE).code == 0


def test_a_database_that_is_away_is_told_with_its_own_exit_code(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWGUARD_ORDERS_URL", f"postgresql://u@127.0.0.1:{free_port()}/d")
    monkeypatch.setenv("FLOWGUARD_DATABASE_TIMEOUT_S", "1")
    assert cli(*ONCE).code == 4


@pytest.mark.slow
@pytest.mark.parametrize(("relay_outbox", "logged"), [("true", 1), ("false", 0)])
def test_up_relays_its_own_outbox_unless_told_not_to(tmp_path: Path, relay_outbox: str, logged: int) -> None:
    with Pipeline(tmp_path, orders_url="memory://", relay_outbox=relay_outbox) as pipeline:
        pipeline.start()
        pipeline.wait_ready()
        connection = HTTPConnection("127.0.0.1", pipeline.port, timeout=DEADLINE_S)
        connection.request("POST", "/v1/orders", payload.encode(order()), {"Content-Type": "application/json"})
        assert connection.getresponse().status == 201
        connection.close()
        if logged:
            wait_until(lambda: pipeline.command("status")["streams"]["orders"]["landed"] == 1, "the event landed")
        assert pipeline.stop() == 0
        assert pipeline.command("status")["streams"]["orders"]["logged"] == logged
