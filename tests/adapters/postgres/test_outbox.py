"""The outbox on a real server: what becomes visible late, several relays, lost connections, a server that stops."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from flowguard.adapters.postgres import Part, PostgresOrderRepository, PostgresOutbox, migrate
from flowguard.adapters.postgres import outbox as outbox_adapter
from flowguard.adapters.postgres.outbox import encoded
from flowguard.domain.errors import ConfigurationError, FlowGuardError, TransientError
from flowguard.domain.telemetry import AttemptFailed, OutboxLeadChanged
from flowguard.entrypoints.dev.postgres import StopMode
from tests.adapters.postgres.relaying import Relays, end_leader, place
from tests.builders import NOW
from tests.contracts.order_case import message, order
from tests.e2e.pipeline import wait_until
from tests.servers.postgres import QUICK, running_postgres

pytestmark = pytest.mark.postgres

_TELL = "INSERT INTO fg_outbox (event_id, topic, key, value, headers) VALUES (%s, %s, %s, %s, %s)"


@pytest.fixture
def url(postgres_url: str) -> str:
    migrate(postgres_url, [Part.ORDERS])
    return postgres_url


@pytest.fixture
def orders(url: str) -> Iterator[PostgresOrderRepository]:
    orders = PostgresOrderRepository(url)
    yield orders
    orders.close()


@pytest.fixture
def relays(url: str) -> Iterator[Relays]:
    relays = Relays(url)
    yield relays
    relays.stop()


def taken(outbox: PostgresOutbox) -> list[str]:
    found = outbox.take(100)
    assert found is not None
    return [one.message.event_id for one in found]


def test_a_lower_id_that_becomes_visible_later_is_not_passed_over(url: str) -> None:
    outbox = PostgresOutbox(url)
    with closing(psycopg.connect(url)) as slow, closing(psycopg.connect(url)) as quick:
        slow.execute(_TELL, encoded(message("slow")))
        quick.execute(_TELL, encoded(message("quick")))
        assert taken(outbox) == []
        quick.commit()
        assert taken(outbox) == ["quick"]
        found = outbox.take(100)
        assert found is not None
        outbox.mark_sent([one.id for one in found], NOW)
        slow.commit()
        assert taken(outbox) == ["slow"]
    outbox.close()


def test_somebody_who_has_a_row_locked_does_not_let_later_ones_overtake_it(
    url: str, orders: PostgresOrderRepository
) -> None:
    place(orders, "ab")
    outbox = PostgresOutbox(url)
    with closing(psycopg.connect(url)) as other:
        other.execute("SELECT 1 FROM fg_outbox WHERE event_id = 'a' FOR UPDATE")
        assert taken(outbox) == ["a", "b"]
    outbox.close()


def test_one_turn_is_bounded_in_bytes_and_never_empty(url: str, orders: PostgresOrderRepository) -> None:
    large = b"x" * (3 * 1024 * 1024)
    with closing(psycopg.connect(url)) as connection:
        for name, value in (("a", large * 2), ("b", large), ("c", b"1"), ("d", large)):
            connection.execute(_TELL, (name, "t", None, value, "[]"))
        connection.commit()
    outbox = PostgresOutbox(url)
    turns = []
    while found := outbox.take(100):
        turns.append([one.message.event_id for one in found])
        outbox.mark_sent([one.id for one in found], NOW)
    assert turns == [["a"], ["b", "c", "d"]]
    outbox.close()


def test_two_relays_keep_the_order_and_take_over_from_one_another(
    url: str, orders: PostgresOrderRepository, relays: Relays
) -> None:
    names = [f"{number}" for number in range(400)]
    for _ in range(2):
        relays.start(batch=7, poll_s=0.02)
    done = threading.Event()
    ended = 0

    def write() -> None:
        place(orders, names)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set() or ended < 3:
        before = len(relays.logged)
        wait_until(lambda before=before: len(relays.logged) > before or done.is_set(), "some more")  # type: ignore[misc]
        ended += end_leader(url)
        if done.is_set():
            place(orders, [extra := f"extra-{ended}-{before}"])
            names.append(extra)
    writer.join()
    wait_until(lambda: len(relays.first_seen) == len(names), "all are in the log")
    assert relays.first_seen == names
    assert ended >= 3
    assert [one.leads for one in relays.telemetry.of(OutboxLeadChanged)].count(True) >= 2


def test_a_relay_whose_connection_is_lost_while_it_listens_goes_on(
    url: str, orders: PostgresOrderRepository, relays: Relays
) -> None:
    relays.start(poll_s=1.0)
    for number in range(3):
        place(orders, [f"{number}"])
        wait_until(lambda number=number: len(relays.logged) == number + 1, "it is in the log")  # type: ignore[misc]
        wait_until(lambda: end_leader(url) == 1, "the lead is there to be lost")
    wait_until(lambda: len(relays.telemetry.of(AttemptFailed)) >= 1, "it noticed")
    place(orders, ["last"])
    wait_until(lambda: relays.first_seen == ["0", "1", "2", "last"], "the last one is in the log")


def test_a_leader_that_was_frozen_loses_the_lead_and_may_still_mark(
    url: str, orders: PostgresOrderRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_adapter, "_FROZEN_S", 1)
    place(orders, "ab")
    frozen, other = PostgresOutbox(url), PostgresOutbox(url)
    first = frozen.take(1)
    assert first is not None
    assert other.take(1) is None
    wait_until(lambda: other.take(1) is not None, "the other one has the lead")
    frozen.mark_sent([first[0].id], NOW)
    assert frozen.take(1) is None
    assert taken(other) == ["b"]
    frozen.close()
    other.close()


def test_news_wake_it_long_before_it_would_ask_again(url: str, orders: PostgresOrderRepository) -> None:
    outbox = PostgresOutbox(url, timeout_s=120.0)
    assert taken(outbox) == []
    for name in "ab":
        writer = threading.Timer(0.1, place, (orders, name))
        writer.start()
        started = time.monotonic()
        outbox.wait(60.0)
        writer.join()
        assert time.monotonic() - started < 20
        assert name in taken(outbox)
    outbox.close()


def test_without_the_trigger_polling_moves_it(url: str, orders: PostgresOrderRepository, relays: Relays) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("ALTER TABLE fg_outbox DISABLE TRIGGER fg_outbox_wakes")
    relays.start(poll_s=0.1)
    wait_until(lambda: bool(relays.telemetry.of(OutboxLeadChanged)), "it leads")
    place(orders, "a")
    wait_until(lambda: relays.logged == ["a"], "it is in the log")


@pytest.mark.slow
@pytest.mark.parametrize("how", [StopMode.FAST, StopMode.IMMEDIATE, None])
def test_a_server_that_stops_and_starts_again(tmp_path: Path, how: StopMode | None) -> None:
    with running_postgres(tmp_path, None if how is None else QUICK) as server:
        migrate(server.url, [Part.ORDERS])
        orders, relays = PostgresOrderRepository(server.url, timeout_s=2.0), Relays(server.url, timeout_s=2.0)
        relays.start(poll_s=0.2)
        place(orders, "ab")
        wait_until(lambda: relays.logged == ["a", "b"], "both are in the log")
        if how is None:
            server.kill()
        else:
            server.stop(how)
        with pytest.raises(TransientError):
            orders.place(order("c"), message("c"), None)
        with pytest.raises(TransientError):
            orders.check()
        wait_until(lambda: bool(relays.telemetry.of(AttemptFailed)), "the relay noticed")
        server.start()
        orders.check()
        place(orders, "de")
        wait_until(lambda: relays.first_seen == ["a", "b", "d", "e"], "the others are in the log, and nothing else")
        assert orders.get("c") is None
        relays.stop()
        orders.close()


def test_outboxes_in_two_schemas_have_a_lead_each(url: str) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("CREATE SCHEMA other")
    there = f"{url}?options=-csearch_path%3Dother"
    migrate(there, [Part.ORDERS])
    one, other = PostgresOutbox(url), PostgresOutbox(there)
    assert one.take(1) == []
    assert other.take(1) == []
    one.close()
    other.close()


def test_without_its_tables_it_says_what_to_do(postgres_url: str) -> None:
    outbox, orders = PostgresOutbox(postgres_url), PostgresOrderRepository(postgres_url)
    for act in (lambda: outbox.take(1), orders.check, lambda: orders.place(order("a"), message("a"), None)):
        with pytest.raises(ConfigurationError, match="run `flowguard migrate`"):
            act()
    outbox.close()
    orders.close()


def test_what_the_database_refuses_is_told_and_stores_nothing(orders: PostgresOrderRepository) -> None:
    with pytest.raises(FlowGuardError) as raised:
        orders.place(order(random.Random(1).randbytes(50_000).hex()), message("a"), None)
    assert not isinstance(raised.value, TransientError | ConfigurationError)
