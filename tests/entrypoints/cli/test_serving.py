"""`up`, `gateway` and `consume` as processes: how they start, what they say, and how they end."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

import pytest

from tests.e2e.pipeline import DEADLINE_S, FLOWGUARD, wait_until

CLICK = {"user_id": "u", "session_id": "s", "item_id": 1, "ad_id": "a"}


class Process:
    """One `flowguard` command with --port 0 where it serves. Leaving the `with` kills what still runs."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("FLOWGUARD_")}
        own = {f"FLOWGUARD_{name.upper()}": value for name, value in settings.items()}
        self._said = folder / f"{arguments[0]}-{os.urandom(4).hex()}"
        self._said.mkdir()
        with (self._said / "out").open("wb") as out, (self._said / "err").open("wb") as err:
            self.popen = subprocess.Popen(
                [FLOWGUARD, *arguments], cwd=folder, env=outside | own, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(DEADLINE_S)

    @property
    def out(self) -> str:
        return (self._said / "out").read_text("utf-8")

    @property
    def err(self) -> str:
        return (self._said / "err").read_text("utf-8")

    @property
    def port(self) -> int:
        """Waits for the banner, which comes once requests are answered."""

        def said() -> bool:
            assert self.popen.poll() is None, self.err
            return "http://" in self.out and self.out.endswith("\n")

        wait_until(said, "the banner")
        return int(self.out.partition("http://127.0.0.1:")[2].partition("/")[0].partition('"')[0])

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)) as connection:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def post(self, *events: dict[str, object]) -> None:
        status, answer = self.ask("POST", "/v1/events/clicks", list(events))
        assert status == 202, answer

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(DEADLINE_S)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def _up(folder: Path, *more: str, **settings: str) -> Process:
    return Process(folder, "up", "--port", "0", *more, **settings)


def _status(folder: Path) -> dict[str, Any]:
    done = subprocess.run([FLOWGUARD, "status", "--json"], cwd=folder, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)["streams"]["clicks"]
    return found


def _wait_landed(folder: Path, count: int) -> None:
    wait_until(lambda: _status(folder)["landed"] == count, f"{count} landed")


def test_the_banner_says_what_to_do_and_its_curl_line_works(folder: Path) -> None:
    with _up(folder) as up:
        base = f"http://127.0.0.1:{up.port}"
        said = {line[2:17].strip(): line[17:].strip() for line in up.out.splitlines()[1:]}
        assert said["post events to"].startswith(f"{base}/v1/events/clicks ")
        assert said["page"] == f"{base}/"
        assert said["docs"] == f"{base}/docs"
        assert said["data"] == str(folder / "flowguard-data")
        command, url, *rest = shlex.split(said["try"])
        assert (command, url) == ("curl", f"{base}/v1/events/clicks")
        assert rest[:3] == ["-H", "Content-Type: application/json", "-d"]
        assert up.ask("POST", "/v1/events/clicks", json.loads(rest[3]))[0] == 202
        _wait_landed(folder, 1)
        for path in ("/", "/docs"):
            with closing(HTTPConnection("127.0.0.1", up.port)) as connection:
                connection.request("GET", path)
                assert connection.getresponse().status == 200
        assert up.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_the_next_start_goes_on(folder: Path, number: signal.Signals) -> None:
    with _up(folder, batch__max_age_s="30") as up:
        up.post(*({**CLICK, "user_id": str(n)} for n in range(20)))
        assert _status(folder)["landed"] == 0
        assert up.end(number) == 0
        assert f"{number.name}: finishing what is under way" in up.err
        assert "Traceback" not in up.err
    # What the consumer had read was not written for its age yet: draining did that, or the next start does.
    with _up(folder) as up:
        up.post(CLICK)
        _wait_landed(folder, 21)
        assert up.end() == 0
    done = subprocess.run([FLOWGUARD, "audit", "--json"], cwd=folder, capture_output=True, check=True)
    assert json.loads(done.stdout)["streams"]["clicks"]["landed"] == 21


def test_a_second_up_on_the_same_data_is_refused(folder: Path) -> None:
    with _up(folder) as up:
        assert up.port
        for command in (["up", "--port", "0"], ["consume"]):
            second = subprocess.run([FLOWGUARD, *command], cwd=folder, capture_output=True, check=False)
            assert second.returncode == 3
            said = second.stderr.decode()
            assert len(said.splitlines()) == 1
            assert f"in use by another `flowguard up` or `consume` (process {up.popen.pid})" in said
        up.post(CLICK)
        assert up.end() == 0


def test_a_lock_that_a_killed_process_left_holds_nobody_up(folder: Path) -> None:
    with _up(folder) as up:
        assert up.port
        assert up.end(signal.SIGKILL) == -9
    with _up(folder) as up:
        up.post(CLICK)
        assert up.end() == 0


def test_a_taken_port_is_one_line(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([FLOWGUARD, "up", "--port", str(port)], cwd=folder, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (3, b"")
    assert f"port {port} on 127.0.0.1 is taken" in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1


def test_a_storm_of_dead_letters_stops_the_consumer_and_the_gateway_goes_on(folder: Path) -> None:
    (folder / "strict_shop.py").write_text(
        "from flowguard.domain.catalog import Catalog, EventType\n"
        "from flowguard.domain.events import Click\n"
        "def refuse(click): raise RuntimeError('a bad deployment')\n"
        "catalog = Catalog([EventType('clicks', Click, key='session_id', keep=refuse)])\n",
        "utf-8",
    )
    with _up(folder, catalog="strict_shop:catalog", dead_letters__max_consecutive="5") as up:
        up.post(*({**CLICK, "user_id": str(n)} for n in range(8)))

        def stopped() -> bool:
            parts = up.ask("GET", "/health")[1]["parts"]
            return bool(parts["consumer"]["status"] != "ok")

        wait_until(stopped, "the consumer stopped")
        status, health = up.ask("GET", "/health")
        assert (status, health["status"]) == (200, "degraded")
        assert "a storm of dead letters" in health["parts"]["consumer"]["detail"]
        assert "a bad deployment" in health["parts"]["consumer"]["detail"]
        up.post(CLICK)
        assert up.ask("GET", "/health/ready")[0] == 200
        assert up.end() == 0
        assert "a storm of dead letters" in up.err


def test_gateway_and_consumer_work_apart(folder: Path) -> None:
    with Process(folder, "gateway", "--port", "0", "--json") as gateway:
        gateway.post(CLICK, {**CLICK, "user_id": "other"})
        early = subprocess.run([FLOWGUARD, "consume"], cwd=folder, capture_output=True, check=False)
        assert early.returncode == 3
        assert "flowguard migrate" in early.stderr.decode()
        subprocess.run([FLOWGUARD, "migrate"], cwd=folder, capture_output=True, check=True)
        with Process(folder, "consume") as consumer:
            _wait_landed(folder, 2)
            assert consumer.end(signal.SIGTERM) == 0
            assert "Merged 2 clicks (skipped 0 duplicates)" in consumer.err
        assert gateway.end() == 0


def test_a_consumer_alone_that_stops_the_line_says_so_with_its_exit_code(folder: Path) -> None:
    with Process(folder, "gateway", "--port", "0") as gateway:
        gateway.post(*({**CLICK, "user_id": str(n)} for n in range(8)))
        assert gateway.end() == 0
    (folder / "strict_shop.py").write_text(
        "from flowguard.domain.catalog import Catalog, EventType\n"
        "from flowguard.domain.events import Click\n"
        "def refuse(click): raise RuntimeError('a bad deployment')\n"
        "catalog = Catalog([EventType('clicks', Click, key='session_id', keep=refuse)])\n",
        "utf-8",
    )
    settings = {"FLOWGUARD_CATALOG": "strict_shop:catalog", "FLOWGUARD_DEAD_LETTERS__MAX_CONSECUTIVE": "5"}
    environment = os.environ | settings
    migrated, done = (
        subprocess.run(
            [FLOWGUARD, command], cwd=folder, env=environment, capture_output=True, check=False, timeout=DEADLINE_S
        )
        for command in ("migrate", "consume")
    )
    assert (migrated.returncode, done.returncode) == (0, 5)
    assert done.stderr.decode().splitlines()[-1].startswith("flowguard: a storm of dead letters")


@pytest.mark.parametrize("command", ["gateway", "consume"])
def test_half_a_pipeline_in_memory_makes_no_sense(folder: Path, command: str) -> None:
    environment = os.environ | {"FLOWGUARD_LOG_URL": "memory://"}
    done = subprocess.run([FLOWGUARD, command], cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 3
    assert "lives and ends inside the process of `flowguard up`" in done.stderr.decode()


def test_up_works_in_memory_too(folder: Path) -> None:
    with _up(folder, log_url="memory://", sink_url="memory://") as up:
        up.post(CLICK)
        wait_until(lambda: up.ask("GET", "/v1/status")[1]["streams"]["clicks"]["landed"] == 1, "it landed")
        assert up.end() == 0
    assert not (folder / "flowguard-data").exists()


def test_a_second_signal_leaves_at_once(folder: Path) -> None:
    with _up(folder) as up:
        port = up.port
        # A request that never ends keeps the first signal waiting, for as long as draining may take.
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(b"POST /v1/events/clicks HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            assert up.ask("GET", "/health/live")[0] == 200
            up.popen.send_signal(signal.SIGINT)
            wait_until(lambda: "finishing what is under way" in up.err, "it was asked to stop")
            assert up.popen.poll() is None
            assert up.end() == 130


def test_help_and_version_name_every_command() -> None:
    done = subprocess.run([FLOWGUARD, "--help"], capture_output=True, check=True)
    served = {"up", "gateway", "consume", "migrate", "publish", "traffic"}
    seen = {"status", "audit", "dlq", "replay", "events", "check"}
    assert all(f" {command} " in done.stdout.decode() for command in served | seen)
    assert subprocess.run([FLOWGUARD, "--version"], capture_output=True, check=True).stdout.startswith(b"flowguard 0.")
    assert subprocess.run([FLOWGUARD, "nope"], capture_output=True, check=False).returncode == 2
