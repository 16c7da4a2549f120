"""Events over HTTP that are in order, and a log that is not."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Sequence
from uuid import UUID

import msgspec
import pytest

from flowguard.adapters.system.event_ids import Uuid7
from flowguard.domain.errors import BackpressureError, ConfigurationError, TransientError, UnknownOutcomeError
from flowguard.ports.publisher import NewRecord, Receipt
from flowguard.settings import Settings
from tests.application.publishing import CLICK, click
from tests.entrypoints.gateway.running import GOOD, Gateway, eventually, running

CLOUD = {"specversion": "1.0", "id": "c1", "source": "shop", "type": "clicks", "data": CLICK}
CLICKS = "/v1/events/clicks"


def encoded(*events: object) -> bytes:
    return msgspec.json.encode(events)


def lines(*events: object, end: bytes = b"\n") -> bytes:
    return end.join(map(msgspec.json.encode, events))


def test_one_event_gets_a_202_with_all_keys_of_the_answer(gateway: Gateway) -> None:
    answer = gateway.post(GOOD)
    assert answer.status == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == {
        "accepted": 1,
        "duplicate": 0,
        "rejected": 0,
        "results": [
            {
                "index": 0,
                "verdict": "accepted",
                "event_id": "made-1",
                "ingestion_id": "raw.clicks.v1-0-0",
                "errors": [],
            }
        ],
    }


def test_a_mixed_request_tells_of_each_event_in_its_order(gateway: Gateway) -> None:
    gateway.post(encoded(click(event_id="old")))
    answer = gateway.post(encoded(click(event_id="new"), click(event_id="old"), {"event_id": "bad", "user_id": 1}))
    assert answer.status == 202
    assert answer.verdicts == ["accepted", "duplicate", "rejected"]
    assert [one["index"] for one in answer.body["results"]] == [0, 1, 2]
    assert [one["event_id"] for one in answer.body["results"]] == ["new", "old", "bad"]
    ids = [one["ingestion_id"] for one in answer.body["results"]]
    assert ids == ["raw.clicks.v1-0-1", "raw.clicks.v1-0-0", None]
    assert answer.pointers[2] == ["/user_id", "/session_id", "/item_id", "/ad_id"]


def test_duplicates_alone_are_a_202(gateway: Gateway) -> None:
    for expected in ("accepted", "duplicate", "duplicate"):
        answer = gateway.post(encoded(click(event_id="e1")))
        assert (answer.status, answer.verdicts) == (202, [expected])
    assert len(gateway.logged()) == 1


BODIES = {
    "an object": (encoded(CLICK)[1:-1], "application/json", 1),
    "an array": (encoded(CLICK, CLICK), "application/json", 2),
    "lines": (lines(CLICK, CLICK, CLICK), "application/x-ndjson", 3),
    "lines of jsonl": (lines(CLICK, CLICK), "application/jsonl", 2),
    "lines that end": (lines(CLICK, CLICK) + b"\n", "application/x-ndjson", 2),
    "lines with CR LF": (lines(CLICK, CLICK, end=b"\r\n") + b"\r\n", "application/x-ndjson", 2),
    "lines with gaps": (b"\n\n" + lines(CLICK, CLICK, end=b"\n \n\n"), "application/x-ndjson", 2),
    "one line": (GOOD, "application/x-ndjson", 1),
    "lines that do not say so": (lines(CLICK, CLICK), "application/json", 2),
    "a pretty object": (msgspec.json.format(GOOD, indent=2), "application/json", 1),
    "curl -d": (GOOD, "application/x-www-form-urlencoded", 1),
    "sendBeacon": (GOOD, "text/plain;charset=UTF-8", 1),
    "no content type": (GOOD, "", 1),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, "Application/JSON ; charset=utf-8", 1),
    "a JSON of somebody's own": (GOOD, "application/vnd.shop+json", 1),
    "a cloud event": (msgspec.json.encode(CLOUD), "application/cloudevents+json; charset=UTF-8", 1),
    "a batch of cloud events": (encoded(CLOUD, {**CLOUD, "id": "c2"}), "application/cloudevents-batch+json", 2),
}


@pytest.mark.parametrize(("body", "content_type", "count"), BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("packed", [False, True])
def test_events_come_in_many_forms(gateway: Gateway, body: bytes, content_type: str, count: int, packed: bool) -> None:
    headers = {"Content_Encoding": "gzip"} if packed else {}
    answer = gateway.post(gzip.compress(body) if packed else body, content_type=content_type, **headers)
    assert (answer.status, answer.verdicts) == (202, ["accepted"] * count)
    assert [msgspec.json.decode(one.data) for one in gateway.logged()] == [CLICK] * count


def test_each_event_may_name_its_own_type(gateway: Gateway) -> None:
    answer = gateway.post(lines({"guest": "Ada", "event_type": "bookings"}, {**CLOUD}, CLICK), "/v1/events")
    assert answer.verdicts == ["accepted", "accepted", "rejected"]
    assert [one["ingestion_id"] for one in answer.body["results"]] == ["raw.bookings.v1-0-0", "raw.clicks.v1-0-0", None]


def test_numbers_are_logged_with_the_digits_that_were_sent(gateway: Gateway) -> None:
    digits = b"[0.10,1e3,12345678901234567890.12345678901234567890,-9223372036854775808]"
    gateway.post(GOOD[:-1] + b',"numbers":' + digits + b"}")
    logged = bytes(gateway.logged()[0].data)
    assert logged.endswith(b'"numbers":[0.10,1E+3,12345678901234567890.12345678901234567890,-9223372036854775808]}')


def test_ids_of_the_gateways_own_make_sort_by_time(gateway: Gateway) -> None:
    made = Uuid7()
    first = made()
    assert UUID(first).version == 7
    assert first < made()


# -- a log that is not in order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (BackpressureError("the log is full", retry_after_s=2.5), "3"),
        (TransientError("the log is away"), "1"),
        (UnknownOutcomeError("the reply was lost"), "1"),
        (ConfigurationError("the topic is missing: run flowguard migrate"), "1"),
    ],
)
def test_a_log_that_cannot_take_it_is_a_503_that_says_what_to_do(gateway: Gateway, error: Exception, wait: str) -> None:
    gateway.desk.broken.errors["raw.clicks.v1"] = [error]
    answer = gateway.post(encoded(click(event_id="e1")))
    answer.check_problem(503, "unavailable")
    assert answer.headers["retry-after"] == wait
    assert str(error) in answer.body["detail"]
    assert "with the same event ids, is safe" in answer.body["detail"]
    assert gateway.post(encoded(click(event_id="e1"))).verdicts == ["accepted"]


def test_a_bug_is_a_500_without_its_traceback_and_is_logged(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    gateway.desk.broken.errors["raw.clicks.v1"] = [RuntimeError("secret inner thing")]
    answer = gateway.post(GOOD)
    answer.check_problem(500, "bug")
    assert "secret" not in str(answer.body)
    eventually(lambda: any("secret inner thing" in str(one.exc_info) for one in _errors(caplog)))
    gateway.check_alive()


def _errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [one for one in caplog.records if one.levelno == logging.ERROR]


def test_the_answer_waits_until_the_log_is_durable() -> None:
    with running() as gateway:
        order: list[str] = []
        inner = gateway.desk.broken.inner.publish

        async def publish(topic: str, records: Sequence[NewRecord]) -> Receipt:
            receipt = await inner(topic, records)
            order.append("durable")
            return receipt

        gateway.desk.broken.inner.publish = publish  # type: ignore[method-assign]
        assert gateway.post(GOOD).status == 202
        assert order == ["durable"]


# -- browsers ----------------------------------------------------------------------------------------------------------


def test_a_page_of_another_site_may_not_post(gateway: Gateway) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        answer = gateway.post(GOOD, content_type="text/plain", Origin=origin)
        answer.check_problem(403, "foreign-origin")
        assert "access-control-allow-origin" not in answer.headers
    assert gateway.logged() == []


def test_a_page_of_the_gateways_own_may_post(gateway: Gateway) -> None:
    assert gateway.post(GOOD, Origin=gateway.url).status == 202


def test_an_origin_of_the_settings_may_post_and_read_the_answer() -> None:
    shop = "https://shop.example"
    with running(settings=Settings(cors_origins=(shop,))) as gateway:
        asked = {
            "Origin": shop,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        before = gateway.ask("OPTIONS", CLICKS, headers=asked)
        assert (before.status, before.headers["access-control-allow-origin"]) == (200, shop)
        answer = gateway.post(GOOD, Origin=shop)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (202, shop)
        refused = gateway.post(GOOD, Origin="https://evil.example")
        refused.check_problem(403, "foreign-origin")
        assert "access-control-allow-origin" not in refused.headers


def test_without_origins_in_the_settings_no_preflight_is_answered(gateway: Gateway) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    answer = gateway.ask("OPTIONS", CLICKS, headers=asked)
    answer.check_problem(405, "method-not-allowed")
    assert "access-control-allow-origin" not in answer.headers
