"""Orders over HTTP: placed once, whatever is sent again, and a database that is not in order."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from flowguard.domain import payload
from flowguard.domain.errors import (
    ConfigurationError,
    PermanentError,
    TransientError,
    UnknownOutcomeError,
)
from flowguard.entrypoints.gateway import ordering
from flowguard.settings import Settings
from tests.application.ordering import order
from tests.entrypoints.gateway.running import DEADLINE_S, Answer, Gateway, eventually, running

PATH = "/v1/orders"


def place(gateway: Gateway, sent: object, key: str | None = None, **headers: str) -> Answer:
    named = {"Idempotency_Key": key} if key is not None else {}
    return gateway.post(payload.encode(sent), PATH, **named, **headers)


def test_an_order_gets_a_201_with_all_keys_of_the_answer(gateway: Gateway) -> None:
    answer = place(gateway, order())
    assert answer.status == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.body.keys() == {"order_id", "event_id", "placed_at"}
    assert (answer.body["order_id"], answer.body["event_id"]) == ("o1", "made-1")
    assert "idempotent-replayed" not in answer.headers
    (message,) = gateway.counter.messages
    assert message.event_id == "made-1"


@pytest.mark.parametrize("again", ["k-1", '"k-1"'])
def test_the_same_key_gets_the_same_status_and_body(gateway: Gateway, again: str) -> None:
    first = place(gateway, order(), "k-1")
    second = place(gateway, order(), again)
    assert (second.status, second.body) == (first.status, first.body)
    assert second.headers["idempotent-replayed"] == "true"
    assert len(gateway.counter.messages) == 1


def test_a_key_with_another_body_is_a_422_that_says_so(gateway: Gateway) -> None:
    place(gateway, order(), "k")
    answer = place(gateway, order(session_id="another"), "k")
    answer.check_problem(422, "idempotency-key-reused")
    assert "'k' came with another request before" in answer.body["detail"]


def test_without_a_key_an_order_that_exists_is_a_409(gateway: Gateway) -> None:
    place(gateway, order())
    answer = place(gateway, order())
    answer.check_problem(409, "order-exists")
    assert "there is an order 'o1' already" in answer.body["detail"]
    assert "Idempotency-Key" in answer.body["detail"]


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "caf\xe9", "a\tb"])
def test_a_key_that_is_none_is_a_400(gateway: Gateway, key: str) -> None:
    place(gateway, order(), key).check_problem(400, "bad-idempotency-key")
    assert gateway.counter.messages == []


def test_two_keys_are_a_400(gateway: Gateway) -> None:
    connection = gateway.connect()
    connection.putrequest("POST", PATH)
    for name, value in (("Idempotency-Key", "a"), ("Idempotency-Key", "b"), ("Content-Length", "2")):
        connection.putheader(name, value)
    connection.endheaders(b"{}")
    assert connection.getresponse().status == 400
    connection.close()


def test_what_does_not_fit_is_a_422_with_its_faults(gateway: Gateway) -> None:
    answer = place(gateway, order(lines=[], user_id=""))
    answer.check_problem(422, "invalid-order")
    assert [one["pointer"] for one in answer.body["errors"]] == ["/user_id", "/lines"]
    answer = place(gateway, [order()])
    answer.check_problem(422, "invalid-order")
    assert answer.body["errors"] == [{"pointer": "", "message": "an event is a JSON object"}]
    assert gateway.counter.messages == []


@pytest.mark.parametrize(
    ("body", "content_type", "status", "name"),
    [
        (b"{", "application/json", 400, "not-json"),
        (b"", "application/json", 400, "empty-body"),
        (b"\xff", "application/json", 400, "not-json"),
        (b"[" * 5_000, "application/json", 400, "not-json"),
        (b"{}\n{}", "application/x-ndjson", 415, "unsupported-media-type"),
        (b"<o/>", "text/xml", 415, "unsupported-media-type"),
        (b" " * (2 << 20), "application/json", 413, "too-large"),
    ],
)
def test_what_is_no_order_at_all(gateway: Gateway, body: bytes, content_type: str, status: int, name: str) -> None:
    gateway.post(body, PATH, content_type).check_problem(status, name)


def test_deep_nesting_and_long_integers_are_faults(gateway: Gateway) -> None:
    for bad in (b"[" * 70 + b"]" * 70, b"99999999999999999999"):
        body = payload.encode(order())[:-1] + b',"x":' + bad + b"}"
        gateway.post(body, PATH).check_problem(422, "invalid-order")


def test_get_is_not_possible_here(gateway: Gateway) -> None:
    gateway.get(PATH).check_problem(405, "method-not-allowed")


def test_without_a_database_in_the_settings_it_says_which_one_to_give() -> None:
    with running(orders=False) as gateway:
        answer = place(gateway, order())
        answer.check_problem(404, "no-orders")
        assert "FLOWGUARD_ORDERS_URL=postgresql://" in answer.body["detail"]
        assert PATH not in gateway.get("/openapi.json").body["paths"]
        assert PATH not in gateway.get("/docs").body


def test_the_documentation_shows_how(gateway: Gateway) -> None:
    assert PATH in gateway.get("/openapi.json").body["paths"]
    assert "Idempotency-Key: " in gateway.get("/docs").body


# -- a database that is not in order -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "key", "advice"),
    [
        (TransientError("the database is away"), "k", "with the same Idempotency-Key, is safe"),
        (UnknownOutcomeError("the reply was lost"), "k", "with the same Idempotency-Key, is safe"),
        (ConfigurationError("no table: run flowguard migrate"), "k", "with the same Idempotency-Key, is safe"),
        (TransientError("the database is away"), None, "The order was not placed. Send it again."),
        (UnknownOutcomeError("the reply was lost"), None, "The order may have been placed."),
    ],
)
def test_a_database_that_is_away_is_a_503_that_says_what_to_do(
    gateway: Gateway, error: Exception, key: str | None, advice: str
) -> None:
    gateway.counter.orders.errors = [error]
    answer = place(gateway, order(), key)
    answer.check_problem(503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert str(error) in answer.body["detail"]
    assert advice in answer.body["detail"]
    gateway.check_alive()
    assert place(gateway, order(), key).status == 201


def test_after_an_unknown_outcome_the_same_key_tells_what_became_of_it(gateway: Gateway) -> None:
    gateway.counter.orders.errors = [UnknownOutcomeError("the reply was lost")]
    gateway.counter.orders.applied = True
    assert place(gateway, order(), "k").status == 503
    again = place(gateway, order(), "k")
    assert (again.status, again.headers["idempotent-replayed"]) == (201, "true")
    assert len(gateway.counter.messages) == 1


def test_what_the_database_refuses_for_good_is_a_422(gateway: Gateway) -> None:
    gateway.counter.orders.errors = [PermanentError("value too long")]
    answer = place(gateway, order())
    answer.check_problem(422, "invalid-order")
    assert "value too long" in answer.body["detail"]


def test_a_database_that_hangs_hinders_no_events_and_does_not_pile_orders_up(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "_MOST_WAITING", 10)
    let_go, inside = threading.Event(), threading.Semaphore(0)

    def held() -> None:
        inside.release()
        let_go.wait(DEADLINE_S)

    gateway.counter.orders.held = held
    with ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(place, gateway, order(order_id=f"o{number}")) for number in range(10)]
        for _ in range(8):
            assert inside.acquire(timeout=DEADLINE_S)
        eventually(lambda: place(gateway, {}).status == 503)
        answer = place(gateway, order(order_id="one-more"))
        answer.check_problem(503, "unavailable")
        assert "10 orders are being placed already" in answer.body["detail"]
        gateway.check_alive()
        let_go.set()
        assert [one.result(DEADLINE_S).status for one in waiting] == [201] * 10
    assert place(gateway, order(order_id="one-more")).status == 201


# -- browsers ----------------------------------------------------------------------------------------------------------


def test_a_page_of_another_site_may_not_place_orders(gateway: Gateway) -> None:
    place(gateway, order(), Origin="https://evil.example").check_problem(403, "foreign-origin")
    assert gateway.counter.messages == []


def test_a_page_of_the_settings_may_and_may_send_a_key() -> None:
    shop = "https://shop.example"
    with running(settings=Settings(cors_origins=(shop,))) as gateway:
        asked = {
            "Origin": shop,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type, idempotency-key",
        }
        assert gateway.ask("OPTIONS", PATH, headers=asked).status == 200
        answer = place(gateway, order(), "k", Origin=shop)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (201, shop)
        assert answer.headers["access-control-expose-headers"] == "Idempotent-Replayed"


def test_the_answer_is_the_time_it_was_placed_in_utc(gateway: Gateway) -> None:
    assert msgspec.json.encode(place(gateway, order()).body["placed_at"]).endswith(b'Z"')
