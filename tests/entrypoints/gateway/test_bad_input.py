"""Whatever is posted: a clear 4xx, nothing half done, and the process takes the next good event."""

from __future__ import annotations

import gzip
import logging
import socket
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest

from flowguard.settings import Settings
from tests.entrypoints.gateway.running import DEADLINE_S, GOOD, Gateway, eventually, running

MIB = 1 << 20


def click(**fields: bytes) -> bytes:
    extra = b"".join(b',"%b":%b' % (name.encode(), value) for name, value in fields.items())
    return b'{"user_id":"u","session_id":"s","item_id":"1","ad_id":"a"%b}' % extra


DEEP = b"[" * 10_000 + b"]" * 10_000

NOT_JSON = {
    "a word": b"hello",
    "cut off": GOOD[:-1],
    "two objects": GOOD + GOOD,
    "trailing comma": b"[%b,]" % GOOD,
    "single quotes": b"{'user_id': 'u'}",
    "NaN": click(price=b"NaN"),
    "Infinity": click(price=b"-Infinity"),
    "bad UTF-8": click(page=b'"\xff\xfe"'),
    "a lone surrogate": click(page=b'"\\ud800"'),
    "a raw NUL": click(page=b'"\x00"'),
    "UTF-16": GOOD.decode().encode("utf-16"),
    "nested 10,000 deep": click(extra=DEEP),
    "an array nested 10,000 deep": DEEP,
    "an integer of 5,000 digits": click(extra=b"1" * 5_000),
}

BAD_EVENTS = {
    "NUL": (click(page=b'"a\\u0000"'), "/page"),
    "NUL in a name": (click(**{"a\\u0000": b"1"}), ""),
    "1e200000": (click(price=b"1e200000"), "/price"),
    "-1e-200000": (click(price=b"-1e-200000"), "/price"),
    "beyond 64 bits": (click(n=b"9223372036854775808"), "/n"),
    "far beyond 64 bits": (click(n=b"-1" + b"0" * 100), "/n"),
    "beyond 64 bits deep inside": (click(n=b'{"a":[18446744073709551615]}'), "/n/a/0"),
    "65 levels": (click(n=b"[" * 64 + b"]" * 64), "/n" + "/0" * 63),
    "a wrong type": (click().replace(b'"u"', b"7"), "/user_id"),
    "a missing field": (click().replace(b'"ad_id":"a"', b'"x":1'), "/ad_id"),
    "a naive time": (click(occurred_at=b'"2026-01-01T00:00:00"'), "/occurred_at"),
    "no object": (b"7", ""),
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
@pytest.mark.parametrize("path", ["/v1/events/clicks", "/v1/events"])
def test_what_is_not_json_is_a_400(shared: Gateway, body: bytes, path: str) -> None:
    before = shared.desk.count
    shared.post(body, path).check_problem(400, "not-json")
    assert shared.desk.count == before
    shared.check_alive()


@pytest.mark.parametrize("body", [b"", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson", "application/cloudevents+json"])
def test_an_empty_body_is_a_400(shared: Gateway, body: bytes, content_type: str) -> None:
    shared.post(body, content_type=content_type).check_problem(400, "empty-body")


def test_an_empty_batch_is_a_422(shared: Gateway) -> None:
    answer = shared.post(b"[]")
    answer.check_problem(422, "no-events")
    assert answer.body["results"] == []
    assert answer.body["accepted"] == answer.body["rejected"] == 0


@pytest.mark.parametrize(("body", "pointer"), BAD_EVENTS.values(), ids=BAD_EVENTS)
def test_a_bad_event_alone_is_a_422(shared: Gateway, body: bytes, pointer: str) -> None:
    before = shared.desk.count
    answer = shared.post(body)
    answer.check_problem(422, "none-accepted")
    assert answer.pointers == [[pointer]]
    assert answer.body["detail"].startswith("The event was rejected")
    assert (answer.body["accepted"], answer.body["duplicate"], answer.body["rejected"]) == (0, 0, 1)
    assert shared.desk.count == before
    shared.check_alive()


@pytest.mark.parametrize(("body", "pointer"), BAD_EVENTS.values(), ids=BAD_EVENTS)
@pytest.mark.parametrize("form", ["array", "lines"])
def test_a_bad_event_does_not_keep_its_neighbours_out(shared: Gateway, body: bytes, pointer: str, form: str) -> None:
    before = shared.desk.count
    events = [click(), body, click()]
    if form == "array":
        answer = shared.post(b"[%b]" % b",".join(events))
    else:
        answer = shared.post(b"\n".join(events), content_type="application/x-ndjson")
    assert answer.status == 202
    assert answer.verdicts == ["accepted", "rejected", "accepted"]
    assert answer.pointers == [[], [pointer], []]
    assert shared.desk.count == before + 2


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_a_line_that_is_not_json_does_not_keep_its_neighbours_out(shared: Gateway, body: bytes) -> None:
    if b"\n" in body or not body.isascii():
        body = body[:60].replace(b"\n", b"")
    answer = shared.post(b"%b\n\n%b\r\n%b\n" % (click(), body, click()), content_type="application/x-ndjson")
    assert answer.verdicts == ["accepted", "rejected", "accepted"]
    assert answer.body["results"][1]["errors"][0]["message"].startswith("not JSON: ")


def test_lines_of_which_none_is_json_are_a_400(shared: Gateway) -> None:
    shared.post(b"one\ntwo\n", content_type="application/x-ndjson").check_problem(400, "not-json")


def test_when_all_are_rejected_the_first_reason_is_told(shared: Gateway) -> None:
    answer = shared.post(b"[{},3]")
    answer.check_problem(422, "none-accepted")
    assert answer.body["detail"] == "All 2 events were rejected; the first one at /user_id: Field required"


def test_an_unknown_type_in_the_path_is_a_404_that_names_the_known_ones(shared: Gateway) -> None:
    for path in ("/v1/events/sales", "/v1/events/%00", "/v1/events/<b>"):
        answer = shared.post(GOOD, path)
        answer.check_problem(404, "unknown-event-type")
        assert "clicks, orders, bookings" in answer.body["detail"]


@pytest.mark.parametrize("path", ["/v1/events/", "/v1/events/clicks/", "/v1/events/clicks/1", "/v1", "/favicon.ico"])
def test_a_path_that_leads_nowhere_is_a_404(shared: Gateway, path: str) -> None:
    shared.post(GOOD, path).check_problem(404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/events/clicks", {"POST"}),
        ("PUT", "/v1/events", {"POST"}),
        ("DELETE", "/v1/events/clicks", {"POST"}),
        ("OPTIONS", "/v1/events/clicks", {"POST"}),
        ("POST", "/health", {"GET", "HEAD"}),
        ("POST", "/", {"GET", "HEAD"}),
    ],
)
def test_a_method_that_is_not_for_this_is_a_405(shared: Gateway, method: str, path: str, allowed: set[str]) -> None:
    answer = shared.ask(method, path)
    answer.check_problem(405, "method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "content_type",
    ["image/png", "application/xml", "multipart/form-data; boundary=x", "application/json; charset=latin-1", "jsonl"],
)
def test_what_does_not_say_that_it_is_json_is_a_415(shared: Gateway, content_type: str) -> None:
    shared.post(GOOD, content_type=content_type).check_problem(415, "unsupported-media-type")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_an_encoding_that_is_not_gzip_is_a_415(shared: Gateway, encoding: str) -> None:
    shared.post(GOOD, Content_Encoding=encoding).check_problem(415, "unsupported-media-type")


NOT_GZIP = {
    "plain": GOOD,
    "cut off": gzip.compress(GOOD)[:-9],
    "more": gzip.compress(GOOD) + b"more",
    "a header": b"\x1f\x8b\x08",
}


@pytest.mark.parametrize("body", NOT_GZIP.values(), ids=NOT_GZIP)
def test_a_body_that_is_not_the_gzip_it_says_is_a_400(shared: Gateway, body: bytes) -> None:
    shared.post(body, Content_Encoding="gzip").check_problem(400, "bad-content-encoding")
    shared.check_alive()


# -- too much ----------------------------------------------------------------------------------------------------------


def test_too_many_events_are_a_413(shared: Gateway) -> None:
    most = b"[%b]" % b",".join([click()] * 1_000)
    assert shared.post(most).status == 202
    for body, content_type in (
        (b"[%b]" % b",".join([click()] * 1_001), "application/json"),
        (b"\n".join([click()] * 1_001), "application/x-ndjson"),
        (b"\n".join([click()] * 1_000 + [b"{"] * 5), "application/x-ndjson"),
    ):
        answer = shared.post(body, content_type=content_type)
        answer.check_problem(413, "too-many-events")
        assert "1,000" in answer.body["detail"]


def test_a_body_of_just_the_limit_is_taken(shared: Gateway) -> None:
    body = click(extra=b'"%b"' % (b"x" * (MIB - len(click(extra=b'""')))))
    assert len(body) == MIB
    assert shared.post(body).status == 202
    shared.post(body + b" ").check_problem(413, "too-large")


def _in_pieces(piece: bytes, times: int) -> Iterator[bytes]:
    for _ in range(times):
        yield piece


@pytest.mark.parametrize("how", ["declared", "chunked", "bomb", "bomb in many members"])
def test_a_body_of_100_mb_is_refused_and_never_held(gateway: Gateway, how: str) -> None:
    piece = b" " * 65_536
    headers = {"Content-Type": "application/json"}
    body: Iterator[bytes] | bytes = _in_pieces(piece, 1_600)
    if how == "declared":
        headers["Content-Length"] = str(1_600 * len(piece))
    elif how == "bomb":
        packer = zlib.compressobj(9, wbits=31)
        body = b"".join([packer.compress(b" " * (100 * MIB)), packer.flush()])
        headers["Content-Encoding"] = "gzip"
    elif how == "bomb in many members":
        body = gzip.compress(b" " * MIB) * 100
        headers["Content-Encoding"] = "gzip"
    tracemalloc.start()
    try:
        answer = gateway.ask("POST", "/v1/events/clicks", body, headers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    answer.check_problem(413, "too-large")
    assert peak < 8 * MIB
    gateway.check_alive()


def test_a_gzip_body_is_taken_whatever_its_shape(shared: Gateway) -> None:
    # Half a mebibyte that packs into a few hundred bytes: unpacked in several pieces.
    large = click(extra=b'"%b"' % (b"x" * (MIB // 2)))
    for body in (gzip.compress(GOOD), gzip.compress(GOOD[:9]) + gzip.compress(GOOD[9:]), gzip.compress(large)):
        assert shared.post(body, Content_Encoding="GZip").status == 202


# -- a connection that lies --------------------------------------------------------------------------------------------

HEAD = b"POST /v1/events/clicks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def test_a_client_that_goes_away_in_the_middle_leaves_nothing_behind(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", gateway.server.port)) as client:
        client.sendall(HEAD % (len(GOOD) + 10) + GOOD)
    gateway.check_alive()
    assert gateway.desk.count == 1
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []


def test_more_than_was_declared_is_no_part_of_the_event(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.server.port), timeout=20) as client:
        client.sendall(HEAD % len(GOOD) + GOOD + b"and more\r\n\r\n")
        told = b""
        while piece := client.recv(65_536):
            told += piece
    assert told.count(b"HTTP/1.1 202 ") <= 1
    eventually(lambda: gateway.desk.count <= 1)
    gateway.check_alive()


def test_an_invalid_request_line_is_a_400(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.server.port), timeout=20) as client:
        client.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 400 ")
    gateway.check_alive()


def test_a_client_that_stalls_in_its_body_is_told_so_and_let_go() -> None:
    with (
        running(settings=Settings(body_idle_s=0.2)) as gateway,
        socket.create_connection(("127.0.0.1", gateway.server.port), timeout=DEADLINE_S) as client,
    ):
        client.sendall(b"POST /v1/events/clicks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        answer = b""
        while received := client.recv(65_536):
            answer += received
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"urn:flowguard:problem:stalled" in answer
        assert gateway.post(GOOD).status == 202
