"""The examples do what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.pipeline import ROOT, free_port, rows_of, wait_until

DEADLINE_S = 30.0


class Service:
    """examples/embed_in_your_service.py, run by uvicorn as its first lines say."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._folder = folder
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOWGUARD_")}
        uvicorn = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT / "examples"), "--port", str(self._port)]
        with (folder / "service.txt").open("ab") as output:
            self._process = subprocess.Popen(
                [*uvicorn, "embed_in_your_service:app"], cwd=folder, env=environment, stdout=output, stderr=output
            )
        wait_until(self._answers, "the service answers", DEADLINE_S)

    def ask(self, method: str, path: str) -> tuple[int, Any]:
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE_S)) as connection:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        # uvicorn ends by the signal that it was sent, once it is done.
        assert self._process.wait(DEADLINE_S) in {0, -signal.SIGTERM}, self._output()
        assert "Traceback" not in self._output()

    def kill_if_alive(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(DEADLINE_S)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._output()
        try:
            return self.ask("GET", "/readings/cellar")[0] == 200
        except OSError:
            return False

    def _output(self) -> str:
        return (self._folder / "service.txt").read_text(encoding="utf-8", errors="replace")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path)
    try:
        yield running
    finally:
        running.kill_if_alive()


def test_a_service_publishes_ingests_and_reads_its_own_events(service: Service, tmp_path: Path) -> None:
    assert service.ask("POST", "/readings/cellar?celsius=12.5&event_id=one")[1]["verdict"] == "accepted"
    assert service.ask("POST", "/readings/cellar?celsius=12.5&event_id=one")[1]["verdict"] == "duplicate"
    assert service.ask("POST", "/readings/attic?celsius=31")[0] == 202
    status, errors = service.ask("POST", "/readings/cellar?celsius=warm")
    assert status == 422
    assert list(errors) == ["/celsius"]

    def landed() -> bool:
        return bool(service.ask("GET", "/readings/cellar")[1] and service.ask("GET", "/readings/attic")[1])

    wait_until(landed, "the rows are read back", DEADLINE_S)
    [row] = service.ask("GET", "/readings/cellar")[1]
    assert row["celsius"] == 12.5

    service.stop()
    with rows_of(tmp_path / "readings-data" / "warehouse.db") as connection:
        rows = connection.execute("SELECT sensor, celsius FROM readings ORDER BY celsius").fetchall()
    assert rows == [("cellar", 12.5), ("attic", 31.0)]
