"""`publish` and `traffic` through a running gateway, and through one that is not there, or not well."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

from tests.e2e.pipeline import Pipeline, free_port, rows_of, wait_until
from tests.entrypoints.cli.conftest import Cli

SUMS = ("accepted", "duplicate", "rejected")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("served")) as pipeline:
        pipeline.start()
        pipeline.wait_ready()
        yield pipeline


def _click(number: int, **more: object) -> dict[str, object]:
    """A click that no other test publishes."""
    return {"user_id": f"u{number}", "session_id": uuid4().hex, "item_id": number, "ad_id": "a", **more}


def _file(folder: Path, *lines: object, name: str = "clicks.ndjson") -> Path:
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path = folder / name
    path.write_bytes(b"\n".join(texts))
    return path


def _publish(cli: Cli, file: object, url: str, *more: object) -> tuple[int, tuple[int, ...]]:
    answer = cli("publish", file, "--url", url, "--json", *more)
    return answer.code, tuple(answer.json[name] for name in SUMS)


def _landed(gateway: Pipeline, file: Path) -> int:
    """How many rows the sessions of this file have; it is small."""
    sessions = [json.loads(line)["session_id"] for line in file.read_bytes().splitlines()]
    with rows_of(gateway.warehouse) as rows:
        marks = ",".join("?" * len(sessions))
        (count,) = rows.execute(f"SELECT count(*) FROM clicks WHERE session_id IN ({marks})", sessions).fetchone()
    assert isinstance(count, int)
    return count


def test_a_file_is_published_and_a_second_time_adds_nothing(cli: Cli, here: Path, gateway: Pipeline) -> None:
    file = _file(here, *map(_click, range(25)))
    assert _publish(cli, file, gateway.url, "--type", "clicks", "--batch", 10) == (0, (25, 0, 0))
    assert _publish(cli, file, gateway.url, "--type", "clicks", "--batch", 7) == (0, (0, 25, 0))
    wait_until(lambda: _landed(gateway, file) == 25, "they landed")


def test_a_packed_copy_in_another_folder_is_the_same_file(cli: Cli, here: Path, gateway: Pipeline) -> None:
    file = _file(here, *map(_click, range(5)))
    (here / "copies").mkdir()
    packed = here / "copies" / "clicks.ndjson.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert _publish(cli, file, gateway.url, "--type", "clicks") == (0, (5, 0, 0))
    assert _publish(cli, packed, gateway.url, "--type", "clicks") == (0, (0, 5, 0))
    assert _publish(cli, packed, gateway.url, "--type", "clicks", "--name", "other") == (0, (5, 0, 0))


def test_equal_lines_are_events_of_their_own(cli: Cli, here: Path, gateway: Pipeline) -> None:
    one = _click(1)
    assert _publish(cli, _file(here, one, one, one), gateway.url, "--type", "clicks") == (0, (3, 0, 0))


def test_each_line_may_name_its_type_and_its_id(cli: Cli, here: Path, gateway: Pipeline) -> None:
    mine = _click(1, event_type="clicks", event_id=uuid4().hex)
    assert _publish(cli, _file(here, mine, mine), gateway.url) == (0, (1, 1, 0))


def test_rejected_lines_are_named_with_number_and_reason(cli: Cli, here: Path, gateway: Pipeline) -> None:
    lacking = _click(2)
    del lacking["item_id"]
    file = _file(here, _click(1), b"", lacking, b"{nope", b'{"user_id": "\xff"}', _click(3), b'{"user_id": NaN}')
    rejects = here / "rejects.ndjson"
    answer = cli("publish", file, "--type", "clicks", "--url", gateway.url, "--rejects", rejects)
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert lines[-1].endswith("2 accepted, 0 duplicate, 4 rejected")
    named = {int(line.split(":")[0].removeprefix("line ")): line for line in lines[:-1]}
    assert sorted(named) == [3, 4, 5, 7]
    assert "/item_id" in named[3]
    kept = [json.loads(line) for line in rejects.read_text("utf-8").splitlines()]
    assert sorted(one["line"] for one in kept) == [3, 4, 5, 7]
    assert json.loads(next(one["text"] for one in kept if one["line"] == 3)) == lacking
    assert _publish(cli, file, gateway.url, "--type", "clicks") == (1, (0, 2, 4))


def test_lines_that_are_all_bad_are_all_named(cli: Cli, here: Path, gateway: Pipeline) -> None:
    file = _file(here, *[b'{"a": "\xff"}'] * 3, b'{"a": NaN}', b"nope")
    answer = cli("publish", file, "--type", "clicks", "--url", gateway.url, "--json")
    assert answer.code == 1
    assert sorted(one["line"] for one in answer.json["rejects"]) == [1, 2, 3, 4, 5]


def test_a_line_that_is_too_large_costs_itself_only(cli: Cli, here: Path, gateway: Pipeline) -> None:
    file = _file(here, _click(1), _click(2, page="x" * 20_000_000), _click(3))
    answer = cli("publish", file, "--type", "clicks", "--url", gateway.url, "--json")
    assert tuple(answer.json[name] for name in SUMS) == (2, 0, 1)
    assert [one["line"] for one in answer.json["rejects"]] == [2]


def test_beginning_at_a_line(cli: Cli, here: Path, gateway: Pipeline) -> None:
    file = _file(here, *map(_click, range(10)))
    assert _publish(cli, file, gateway.url, "--type", "clicks", "--from-line", 8) == (0, (3, 0, 0))
    assert _publish(cli, file, gateway.url, "--type", "clicks") == (0, (7, 3, 0))


def test_standard_input_is_a_file_too(cli: Cli, gateway: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(_click(1)).encode() + b"\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert _publish(cli, "-", gateway.url, "--type", "clicks") == (0, (1, 0, 0))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.ndjson"], 2, "there is no file nowhere.ndjson"),
        (["clicks.ndjson", "--type", "nope"], 3, "There is no event type 'nope'"),
        (["clicks.ndjson", "--url", "ftp://x"], 3, "write http://host:port"),
    ],
)
def test_what_cannot_be_published_is_one_line(
    cli: Cli, here: Path, gateway: Pipeline, arguments: list[str], code: int, said: str
) -> None:
    _file(here, _click(1))
    answer = cli("publish", *([] if "--url" in arguments else ["--url", gateway.url]), *arguments)
    assert answer.code == code
    assert said in answer.err


# -- a gateway that is away, busy, or broken off -----------------------------------------------------------------------


def test_a_gateway_that_is_not_there_is_said_so(cli: Cli, here: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    answer = cli("publish", _file(here, _click(1)), "--type", "clicks", "--url", url, "--retry-for", 0)
    assert (answer.code, answer.out) == (4, "")
    assert f"{url} does not take events" in answer.err
    assert "flowguard up" in answer.err


class Scripted:
    """A gateway that answers as the script says, request by request: `accept`, `busy`, `drop` (no answer at all)."""

    def __init__(self, *script: str) -> None:
        self.requests: list[list[dict[str, object]]] = []
        todo = iter(script)
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # the name is http.server's
                body = self.rfile.read(int(self.headers["Content-Length"]))
                events = [json.loads(line) for line in body.splitlines()]
                requests.append(events)
                match next(todo, "accept"):
                    case "drop":
                        self.close_connection = True
                    case "busy":
                        self._answer(503, {"detail": "the log is full"}, {"Retry-After": "0"})
                    case _:
                        results = [{"index": index, "verdict": "accepted"} for index, _ in enumerate(events)]
                        self._answer(202, {"results": results}, {})

            def _answer(self, status: int, document: object, headers: dict[str, str]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is http.server's
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def make(*script: str) -> Scripted:
        made.append(Scripted(*script))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("trouble", ["busy", "drop"])
def test_a_batch_is_sent_again_as_it_was_until_it_is_taken(
    cli: Cli, here: Path, scripted: Callable[..., Scripted], trouble: str
) -> None:
    gateway = scripted("accept", trouble, trouble, "accept")
    file = _file(here, *map(_click, range(4)))
    assert _publish(cli, file, gateway.url, "--type", "clicks", "--batch", 2) == (0, (4, 0, 0))
    first, *seconds = gateway.requests
    assert len(first) == 2
    assert len(seconds) == 3
    assert seconds[0] == seconds[1] == seconds[2]
    assert {"event_id"} <= seconds[0][0].keys()


def test_what_was_broken_off_goes_on_where_it_stopped(cli: Cli, here: Path, scripted: Callable[..., Scripted]) -> None:
    gateway = scripted("accept", "accept", "busy")
    file = _file(here, *map(_click, range(10)))
    publish = ("publish", file, "--type", "clicks", "--url", gateway.url, "--batch", 3, "--retry-for", 0, "--json")
    broken = cli(*publish)
    assert (broken.code, broken.out) == (4, "")
    assert "stopped at line 7; the same command goes on from there" in broken.err
    going_on = cli(*publish)
    assert "going on at line 7" in going_on.err
    assert (going_on.json["lines"], going_on.json["accepted"]) == (4, 4)
    # It was published to its end: from now on, the same command publishes all of it once more.
    assert cli(*publish).json["lines"] == 10
    assert [len(events) for events in gateway.requests] == [3, 3, 3, 3, 1, 3, 3, 3, 1]


def test_a_gateway_that_refuses_for_good_is_not_asked_again(cli: Cli, here: Path, gateway: Pipeline) -> None:
    answer = cli("publish", _file(here, _click(1)), "--type", "clicks", "--url", f"{gateway.url}/elsewhere")
    assert answer.code == 3
    assert "answered 404" in answer.err


# -- traffic -----------------------------------------------------------------------------------------------------------


def test_traffic_is_answered_as_it_was_meant(cli: Cli, gateway: Pipeline) -> None:
    shares = ("--invalid-share", 0.1, "--resend-share", 0.1)
    answer = cli("traffic", "--events", 700, "--seed", 11, "--url", gateway.url, "--json", *shares)
    assert answer.code == 0
    assert {name: answer.json[name] for name in SUMS} == answer.json["expected"]
    assert sum(answer.json["expected"].values()) == 700
    assert min(answer.json["expected"].values()) > 30
    again = cli("traffic", "--events", 700, "--seed", 11, "--url", gateway.url, "--json", *shares).json
    assert (again["accepted"], again["rejected"]) == (0, answer.json["rejected"])


def test_traffic_keeps_to_its_rate(cli: Cli, gateway: Pipeline) -> None:
    answer = cli("traffic", "--events", 40, "--rate", 100, "--url", gateway.url, "--json")
    assert answer.json["seconds"] >= 0.39


def test_traffic_without_a_seed_is_new_each_time_and_names_the_seed(cli: Cli, gateway: Pipeline) -> None:
    one, two = (cli("traffic", "--events", 20, "--url", gateway.url, "--json").json for _ in range(2))
    assert (one["accepted"], two["accepted"]) == (20, 20)
    assert one["seed"] != two["seed"]
    assert "seed" in cli("traffic", "--events", 5, "--url", gateway.url).out


def test_more_shares_than_there_are_events_is_a_usage_error(cli: Cli) -> None:
    assert cli("traffic", "--events", 5, "--invalid-share", 0.6, "--resend-share", 0.6).code == 2
