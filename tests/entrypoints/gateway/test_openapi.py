"""The OpenAPI document tells the truth: whatever it allows or forbids is answered as it says, and never by a 5xx."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.entrypoints.gateway.openapi import document
from flowguard.entrypoints.gateway.problems import KINDS
from flowguard.settings import Settings
from tests.application.publishing import CATALOG
from tests.entrypoints.gateway.running import DEADLINE_S, GOOD, Gateway, running

DOCUMENT = document(CATALOG, max_events=100, orders=CATALOG.named("orders"))
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "http.md"


@pytest.fixture(scope="module")
def served() -> Iterator[Gateway]:
    with running(settings=Settings(max_body_bytes=1 << 20)) as gateway:
        yield gateway


@pytest.mark.slow
def test_some_thousand_requests_that_schemathesis_makes_up(served: Gateway, tmp_path: Path) -> None:
    # As a program of its own: its pytest plugin makes up all cases at collection, in every run of any test.
    options = ["--exclude-path", "/v1/stream", "--phases", "examples,coverage,fuzzing", "-n", "10", "--no-color"]
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{served.url}/openapi.json",
            "--checks",
            CHECKS,
            *options,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30 * DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    assert (counted := re.search(r"(\d+) generated, (\d+) passed", done.stdout))
    assert int(counted[1]) == int(counted[2]) > 1_000
    served.check_alive()


PIECES = [GOOD, GOOD[:-1], b"[", b"]", b",", b"\n", b"{", b"}", b'"', b"\\u0000", b"1e999999", b":", b" ", b"\xff"]
BODIES = st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join)
MEDIA = st.sampled_from(["application/json", "application/x-ndjson", "application/cloudevents+json", "text/plain", ""])
PATHS = st.sampled_from(["/v1/events/clicks", "/v1/events"])


@given(BODIES, MEDIA, PATHS, st.booleans())
def test_whatever_bytes_come_are_answered_as_the_document_says(
    served: Gateway, body: bytes, content_type: str, path: str, packed: bool
) -> None:
    before = served.desk.count
    headers = {"Content_Encoding": "gzip"} if packed else {}
    answer = served.post(gzip.compress(body) if packed else body, path, content_type, **headers)
    assert answer.status in {202, 400, 422}
    assert str(answer.status) in DOCUMENT["paths"][path]["post"]["responses"]
    accepted = answer.body["accepted"] if answer.status == 202 else 0
    assert served.desk.count == before + accepted


def test_every_type_has_its_path_with_an_example_that_is_accepted(served: Gateway) -> None:
    assert served.get("/openapi.json").body["openapi"] == "3.1.0"
    for one in CATALOG:
        media = DOCUMENT["paths"][f"/v1/events/{one.name}"]["post"]["requestBody"]["content"]["application/json"]
        answer = served.post(msgspec.json.encode(media["example"]), f"/v1/events/{one.name}")
        assert answer.verdicts == ["accepted"]


@given(BODIES, st.sampled_from(["application/json", "application/cloudevents+json", "text/plain", ""]))
def test_whatever_bytes_come_as_an_order_are_answered_as_the_document_says(
    served: Gateway, body: bytes, content_type: str
) -> None:
    answer = served.post(body, "/v1/orders", content_type)
    assert answer.status in {201, 400, 409, 422}
    assert str(answer.status) in DOCUMENT["paths"]["/v1/orders"]["post"]["responses"]


def test_the_example_of_an_order_is_placed_and_where_none_are_taken_none_is_documented(served: Gateway) -> None:
    media = DOCUMENT["paths"]["/v1/orders"]["post"]["requestBody"]["content"]["application/json"]
    assert served.post(msgspec.json.encode(media["example"]), "/v1/orders").status in {201, 409}
    assert "/v1/orders" not in document(CATALOG, max_events=100)["paths"]


def test_every_kind_of_problem_is_in_the_reference() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert set(re.findall(r"`(urn:flowguard:problem:[a-z0-9-]+)`", text)) == {one.uri for one in KINDS}
    for one in KINDS:
        assert re.search(rf"\| {one.status} \| `{one.uri}` \|", text), one
