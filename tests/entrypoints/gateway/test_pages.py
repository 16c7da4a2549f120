"""The pages: self-contained, in which nothing that a producer sends can do anything, with curl lines that work."""

from __future__ import annotations

import re
import shlex
from base64 import b64encode
from enum import StrEnum
from hashlib import sha256
from html import unescape
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from flowguard.domain.catalog import BUILT_IN, Catalog, EventType
from flowguard.entrypoints.gateway.examples import example_of
from flowguard.entrypoints.gateway.reference import reference
from tests.entrypoints.gateway.running import Answer, Gateway


@pytest.fixture(params=["/", "/docs"])
def page(request: pytest.FixtureRequest, shared: Gateway) -> Answer:
    return shared.get(request.param)


def test_a_page_is_html_that_asks_no_other_host(page: Answer, shared: Gateway) -> None:
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    hosts = set(re.findall(r"https?://([^\s/\"'<>)]+)", page.body)) - {"www.w3.org"}  # the name space of SVG
    assert hosts <= {shared.url.removeprefix("http://")}
    assert not re.search(r"(src|href)=.?//", page.body)


def test_only_what_stands_in_the_page_may_run_in_it(page: Answer) -> None:
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        for text in re.findall(f"<{tag}>(.*?)</{tag}>", page.body, re.DOTALL):
            assert f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" in policy
    assert not re.search(r"\son[a-z]+=|\sstyle=|<script [^>]*src", page.body)
    assert page.headers["x-content-type-options"] == "nosniff"


def test_the_script_never_makes_markup_of_text(shared: Gateway) -> None:
    home = shared.get("/").body
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", home)


def test_no_placeholder_is_left(page: Answer) -> None:
    assert "{{" not in page.body


def test_every_curl_line_works_when_pasted(gateway: Gateway) -> None:
    for path, least in (("/docs", 4), ("/", 1)):
        found = re.findall(r"<code>(curl .*?)</code>", gateway.get(path).body)
        assert len(found) >= least
        for line in found:
            command, url, *flags, data_flag, body = shlex.split(unescape(line))
            assert (command, {*flags[::2]}, data_flag) == ("curl", {"-H"}, "-d")
            assert url.startswith(gateway.url)
            headers = dict(one.split(": ", 1) for one in flags[1::2])
            answer = gateway.ask("POST", url.removeprefix(gateway.url), body.encode(), headers)
            assert answer.status == 201 or answer.verdicts == ["accepted"]


def test_a_host_that_is_no_host_is_not_repeated(shared: Gateway) -> None:
    for path in ("/", "/docs"):
        body = shared.ask("GET", path, headers={"Host": "a';rm -rf /<script>"}).body
        assert "rm -rf" not in body
        assert "http://127.0.0.1:8000/v1/events/clicks" in body


# -- event types of users ----------------------------------------------------------------------------------------------


class Colour(StrEnum):
    RED = "it's <red>"


class Part(BaseModel):
    """<b>A part</b>."""

    colour: Colour
    weight: Annotated[float, Field(gt=3)]


class Thing(BaseModel):
    """A thing with </code><script>alert(1)</script> in its text."""

    id: UUID
    code: Annotated[str, Field(min_length=3, max_length=5, description="<i>short</i>")]
    parts: Annotated[list[Part], Field(min_length=2)]
    note: str | None
    flag: bool
    when: Any = None


class Impossible(BaseModel):
    """No example fits that a program could make up."""

    word: Annotated[str, Field(pattern="^[QXZ]{7}$")]


class Described(BaseModel):
    """One that brings its example along."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"a": 5, "b": 6}]})
    a: int
    b: int

    @model_validator(mode="after")
    def _sums(self) -> Described:
        if self.a + self.b != 11:
            raise ValueError("the sum is 11")
        return self


THINGS = EventType("things", Thing, key="code")


def test_an_example_is_made_up_that_fits_the_model() -> None:
    made = example_of(THINGS)
    assert made is not None
    Thing.model_validate(made)
    assert len(made["parts"]) == 2


def test_a_model_may_bring_its_own_example() -> None:
    assert example_of(EventType("described", Described, key="a")) == {"a": 5, "b": 6}


def test_where_no_example_fits_none_is_shown() -> None:
    impossible = EventType("impossible", Impossible, key="word")
    assert example_of(impossible) is None
    shown = reference(Catalog([impossible]), max_events=1, max_body_bytes=1)
    assert "curl" not in shown
    assert "/v1/events/impossible" in shown


def test_texts_of_models_are_shown_as_text() -> None:
    shown = reference(Catalog([*BUILT_IN, THINGS]), max_events=1, max_body_bytes=1)
    assert "<script>" not in shown
    assert "<i>" not in shown
    assert "&lt;i&gt;short&lt;/i&gt;" in shown
    line = next(one for one in re.findall(r"<code>(curl .*?)</code>", shown) if "/things" in one)
    assert "it's <red>" in shlex.split(unescape(line))[-1]
