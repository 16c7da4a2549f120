"""A real `flowguard up`, as a process of its own, on a free port and a temporary folder."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic, perf_counter, sleep
from types import TracebackType
from typing import Self

_COMMAND = "from flowguard.entrypoints.cli.main import run; run()"


class Pipeline:
    """Started when entered and drained when left. `first_answer_s`: seconds from the start to the first 202."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.first_answer_s = 0.0

    def __enter__(self) -> Self:
        started = perf_counter()
        command = [sys.executable, "-c", _COMMAND, "up", "--data-dir", str(self._folder), "--port", str(self.port)]
        self._output = (self._folder / "up.log").open("wb")
        self._process = subprocess.Popen(command, stdout=self._output, stderr=self._output)
        body = json.dumps(
            {"event_id": "first", "user_id": "u", "session_id": "s", "item_id": "1", "ad_id": "a"}
        ).encode()
        deadline = monotonic() + 30
        while self._post_once(body) != http.HTTPStatus.ACCEPTED:
            if self._process.poll() is not None or monotonic() > deadline:
                raise RuntimeError((self._folder / "up.log").read_text())
            sleep(0.005)
        self.first_answer_s = perf_counter() - started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)
        self._output.close()

    def status(self) -> dict[str, dict[str, float]]:
        """The streams of GET /v1/status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/v1/status")
        answer: dict[str, dict[str, float]] = json.loads(connection.getresponse().read())["streams"]
        connection.close()
        return answer

    def _post_once(self, body: bytes) -> int | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("POST", "/v1/events/clicks", body, {"Content-Type": "application/json"})
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()
