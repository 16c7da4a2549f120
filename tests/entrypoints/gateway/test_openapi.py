"""The OpenAPI document tells the truth: what schemathesis makes up from it is answered as it says, and never by a 5xx."""

from __future__ import annotations

import gzip
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from flowguard.entrypoints.gateway.openapi import document
from flowguard.entrypoints.gateway.problems import KINDS
from tests.application.publishing import CATALOG
from tests.entrypoints.gateway.running import GOOD, Gateway, running

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
DOCS = Path(__file__).resolve().parents[3] / "docs" / "reference" / "http.md"

DOCUMENT = document(CATALOG, max_events=100)
SESSION = requests.Session()
answered: Counter[int] = Counter()
schema = schemathesis.openapi.from_dict(DOCUMENT).exclude(path="/v1/stream")


@pytest.fixture(scope="module")
def served() -> Iterator[Gateway]:
    with running(max_body_bytes=1 << 20) as gateway:
        yield gateway


@schemathesis.serializer("application/x-ndjson")
def _lines(_context: object, value: object) -> bytes:
    return str(value).encode("utf-8", "replace")


@schema.parametrize()
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
def test_whatever_the_document_allows_or_forbids_is_answered_as_it_says(
    case: schemathesis.Case, served: Gateway
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the tool's own vendors are not ours to mend
        answered[case.call_and_validate(base_url=served.url, session=SESSION, checks=CHECKS).status_code] += 1


def test_it_was_answered_in_more_than_one_way() -> None:
    assert {202, 400, 422, 200} <= answered.keys()


def test_the_process_still_lives(served: Gateway) -> None:
    served.check_alive()


BODIES = st.binary(max_size=60) | st.builds(
    lambda parts: b"".join(parts),
    st.lists(
        st.sampled_from(
            [GOOD, GOOD[:-1], b"[", b"]", b",", b"\n", b"{", b"}", b'"', b"\\u0000", b"1e999999", b":", b" ", b"\xff"]
        ),
        max_size=8,
    ),
)
TYPES = st.sampled_from(["application/json", "application/x-ndjson", "application/cloudevents+json", "text/plain", ""])


@given(BODIES, TYPES, st.sampled_from(["/v1/events/clicks", "/v1/events"]), st.sampled_from(["identity", "gzip"]))
def test_whatever_bytes_come_are_answered_as_the_document_says(
    served: Gateway, body: bytes, content_type: str, path: str, encoding: str
) -> None:
    before = len(served.logged())
    packed = gzip.compress(body) if encoding == "gzip" else body
    answer = served.post(packed, path, content_type, Content_Encoding=encoding)
    assert answer.status in {202, 400, 422}
    assert str(answer.status) in DOCUMENT["paths"][path]["post"]["responses"]
    accepted = answer.body["accepted"] if answer.status == 202 else 0
    assert len(served.logged()) == before + accepted


def test_every_type_has_its_path_with_an_example_that_is_accepted(served: Gateway) -> None:
    for one in CATALOG:
        media = DOCUMENT["paths"][f"/v1/events/{one.name}"]["post"]["requestBody"]["content"]["application/json"]
        answer = served.post(msgspec.json.encode(media["example"]), f"/v1/events/{one.name}")
        assert answer.verdicts == ["accepted"]


def test_every_kind_of_problem_is_in_the_reference() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert {one.uri for one in KINDS} == set(re.findall(r"urn:flowguard:problem:[a-z0-9-]+", text))
    for one in KINDS:
        assert re.search(rf"\| {one.status} \| `{one.uri}` \|", text)
