"""The real package `snowpipe-streaming`: it has what the sink calls, and rows travel as they should.

It wants an older msgspec than the lock has, so it is unpacked beside the environment, and asked in a process of its
own. Nothing here talks to Snowflake.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from flowguard.adapters.snowpipe.errors import FENCED, PERSON
from tests.adapters.snowpipe.fake import FakeCode

pytestmark = pytest.mark.slow

PACKAGE = "snowpipe-streaming==1.9.1"

ASKED = """
import inspect, json
from datetime import UTC, datetime
import snowflake.ingest.streaming as real
from flowguard.adapters.snowpipe import client
from flowguard.adapters.snowpipe.documents import prepared
from tests.adapters.snowpipe.fake import FakeChannel, FakeClient
from tests.builders import MEASUREMENTS, event, rows

def parameters(one):
    return {name: p.default if p.default is not p.empty else "required"
            for name, p in inspect.signature(one).parameters.items() if name not in {"self", "cls"}}

def of(*classes):
    methods = [name for name in vars(classes[0]) if not name.startswith("_")]
    return {f"{classes[0].__name__}.{name}": [parameters(getattr(one, name)) for one in classes] for name in methods}

class Wire:
    def append_rows(self, *arguments):
        self.arguments = arguments

wire = Wire()
channel = real.StreamingIngestChannel(wire, None, _internal=True)
values = {offset: event(MEASUREMENTS, f"e{offset}").replace(b'"device"', b'\\n"device"') for offset in range(2)}
channel.append_rows([row.document for row in prepared([rows(MEASUREMENTS, values)], datetime.now(UTC))], "0", "2")
lines, count, _, start, end = wire.arguments
channel._channel = None  # nothing to close

print(json.dumps({
    "methods": {**of(client.Channel, real.StreamingIngestChannel, FakeChannel),
                **of(client.Client, real.StreamingIngestClient, FakeClient)},
    "from_table": parameters(real.StreamingIngestClient.from_table),
    "status": [name for name in vars(client.ChannelStatus) if not name.startswith("_")
               and not isinstance(getattr(real.ChannelStatus, name, None), property)],
    "codes": [one.value for one in real.StreamingIngestErrorCode],
    "lines": bytes(lines).decode(), "count": count, "tokens": [start, end],
}))
"""

REFUSED = """
import sys
from flowguard.adapters.snowpipe import connector, url_of
from flowguard.domain.errors import ConfigurationError
try:
    connector(url_of("snowpipe://u@a/D/S?host=127.0.0.1&port=9&private_key_file=" + sys.argv[1]))("T")
except ConfigurationError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snowpipe")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
    done = subprocess.run(
        [*pip, "--only-binary=:all:", "--dest", folder, PACKAGE], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"{PACKAGE} cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def asked(unpacked: Path, script: str, *arguments: str) -> str:
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (unpacked, root / "src", root)))}
    environment["SS_LOG_LEVEL"] = "error"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def real(unpacked: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(asked(unpacked, ASKED))
    return answer


def test_it_has_every_method_with_the_parameters_that_the_sink_and_its_fake_know(real: dict[str, Any]) -> None:
    assert {"Channel.append_rows", "Channel.wait_for_flush", "Client.open_channel"} <= real["methods"].keys()
    for name, (ours, theirs, fake) in real["methods"].items():
        assert ours == theirs == fake, name
    assert {"client_name", "db_name", "schema_name", "table_name", "properties"} <= real["from_table"].keys()


def test_a_status_has_what_the_sink_looks_at(real: dict[str, Any]) -> None:
    assert real["status"] == []


def test_every_error_that_is_told_apart_is_one_of_its_own(real: dict[str, Any]) -> None:
    known = {*FENCED, *PERSON, *(one.value for one in FakeCode)}
    assert known - set(real["codes"]) == set()


def test_rows_travel_as_one_line_each_with_json_as_json(real: dict[str, Any]) -> None:
    assert (real["count"], real["tokens"]) == (2, ["0", "2"])
    first, second = (json.loads(line) for line in real["lines"].splitlines())
    assert (first["EVENT_ID"], second["EVENT_ID"]) == ("e0", "e1")
    assert first["TAGS"] == first["PAYLOAD"]["tags"] == {"a": [1, None, "é"]}
    assert (first["PRICE"], first["OCCURRED_AT"]) == ("12.3400", "2026-01-02T03:04:05.678901Z")


def test_a_key_that_is_none_is_a_clear_error(unpacked: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.p8"
    key.write_text("no key")
    told = asked(unpacked, REFUSED, str(key))
    assert told.startswith("snowpipe://a/D/S: it refuses the credentials; check user, role and key of the URL"), told
