"""The page, in a real browser: it shows what happens, by itself, and shows text as text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.e2e.pipeline import Pipeline, wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with its chromedriver on this machine"),
]

# Root may only run it without its sandbox; the rest keeps it from asking anything of the outside.
_QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (*_QUIET, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(argument)
    chrome = Chrome(options=options, service=Service(executable_path=str(DRIVER)))
    try:
        yield chrome
    finally:
        chrome.quit()


def _post(pipeline: Pipeline, event: dict[str, object]) -> None:
    connection = HTTPConnection("127.0.0.1", pipeline.port)
    connection.request("POST", "/v1/events/clicks", json.dumps(event), {"Content-Type": "application/json"})
    assert connection.getresponse().status == 202
    connection.close()


def test_the_page_shows_what_lands_without_being_reloaded(tmp_path: Path, browser: Chrome) -> None:
    click: dict[str, object] = {
        "user_id": "<b>bold</b>",
        "session_id": "s",
        "item_id": "1",
        "ad_id": "<script>document.title='x'</script>",
    }

    def text() -> str:
        return browser.find_element(By.TAG_NAME, "main").text

    with Pipeline(tmp_path) as pipeline:
        pipeline.start()
        pipeline.wait_ready()
        browser.get(pipeline.url + "/")
        wait_until(lambda: "live" in browser.find_element(By.ID, "state").text, "the page is live")
        assert "No event has landed yet" in text()

        _post(pipeline, click)
        _post(pipeline, {"schema_version": 99})

        wait_until(lambda: "raw.clicks.v1-0-0" in text(), "the event is shown")
        wait_until(lambda: "Dead letters\n1" in text(), "the dead letter is counted")
        assert "<b>bold</b>" in text()
        assert browser.title == "FlowGuard"
        pipeline.kill()
        wait_until(lambda: "away" in browser.find_element(By.ID, "state").text, "the page says that nobody answers")
        pipeline.start()
        wait_until(lambda: "live" in browser.find_element(By.ID, "state").text, "the page finds back by itself")
        pipeline.stop()


def test_the_docs_need_no_outside_host(tmp_path: Path, browser: Chrome) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.start()
        pipeline.wait_ready()
        browser.get(pipeline.url + "/docs")
        assert "raw.orders.v1" in browser.find_element(By.TAG_NAME, "main").text
        fetched = browser.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
        assert [one for one in fetched if not one.startswith(pipeline.url)] == []
        log = browser.get_log("browser")  # type: ignore[no-untyped-call]
        assert [entry for entry in log if entry["level"] == "SEVERE"] == []
        pipeline.stop()
