"""The live page as a person sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from flowguard.domain.errors import TransientError
from tests.entrypoints.gateway.browser import CHROMIUM, Browser, browser
from tests.entrypoints.gateway.running import Gateway, eventually, running
from tests.entrypoints.gateway.test_live import ROW

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)"),
]
HOSTILE = "</script><img src=x onerror='document.title=\"broken\"'><b>bold</b>"


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path / "profile") as opened:
        yield opened


def state(tab: Browser) -> str:
    return str(tab.ask("document.getElementById('state')?.textContent"))


def figures(landed: int) -> Mapping[str, object]:
    one = {"logged": landed + 7, "landed": landed, "dead_lettered": 2, "lag": 5, "oldest_unlanded_s": 1.25}
    return {"streams": {"clicks": {"topic": "raw.clicks.v1", **one, "metadata_complete": 0.9839}}}


def show(gateway: Gateway, landed: int, row: Mapping[str, object] = ROW) -> None:
    gateway.watcher.rows = [row]
    gateway.watcher.figures = figures(landed)


def test_figures_and_events_are_shown_and_refreshed(tab: Browser, gateway: Gateway) -> None:
    show(gateway, 1234)
    tab.open(gateway.url)
    eventually(lambda: state(tab) == "live")
    text = str(tab.ask("document.body.innerText"))
    for shown in ("clicks", "raw.clicks.v1", "1,234", "1,241", "1.3 s", "98.3 %", "raw.clicks.v1-0-0", "shop"):
        assert shown in text
    show(gateway, 2345, {**ROW, "ingestion_id": "raw.clicks.v1-0-1"})
    eventually(lambda: "2,345" in str(tab.ask("document.body.innerText")))
    assert "raw.clicks.v1-0-1" in str(tab.ask("document.body.innerText"))
    assert tab.complaints == []


def test_what_producers_send_is_shown_as_text(tab: Browser, gateway: Gateway) -> None:
    show(gateway, 1, dict.fromkeys(ROW, HOSTILE))
    tab.open(gateway.url)
    eventually(lambda: state(tab) == "live")
    assert HOSTILE in str(tab.ask("document.querySelector('#recent').textContent"))
    assert tab.ask("document.querySelectorAll('img, b').length") == 0
    assert tab.ask("document.title") == "FlowGuard"


def test_it_says_that_the_gateway_is_away_and_comes_back_by_itself(tab: Browser) -> None:
    with running() as gateway:
        show(gateway, 1)
        port = gateway.server.port
        tab.open(gateway.url)
        eventually(lambda: state(tab) == "live")
    eventually(lambda: "away" in state(tab))
    with running(port=port) as gateway:
        show(gateway, 4567)
        eventually(lambda: state(tab) == "live")
        eventually(lambda: "4,567" in str(tab.ask("document.body.innerText")))


def test_it_says_why_there_are_no_figures(tab: Browser, gateway: Gateway) -> None:
    gateway.watcher.error = TransientError("the sink is away")
    tab.open(gateway.url)
    eventually(lambda: state(tab) == "no figures: the sink is away")


def test_it_fits_a_phone(tab: Browser, gateway: Gateway) -> None:
    show(gateway, 1, {**ROW, "payload": json.dumps({"long": "x" * 300}), "event_id": "y" * 256})
    tab.call("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    tab.open(gateway.url)
    eventually(lambda: state(tab) == "live")
    assert tab.ask("document.documentElement.scrollWidth") == 360
    tab.open(f"{gateway.url}/docs")
    eventually(lambda: bool(tab.ask("document.title.includes('publishing') && document.readyState == 'complete'")))
    assert tab.ask("document.documentElement.scrollWidth") == 360
