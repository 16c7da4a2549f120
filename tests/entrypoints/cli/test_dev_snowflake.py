"""`flowguard dev snowflake`: a stand-in with one command, or one line that says what is missing."""

from __future__ import annotations

import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.snowflake import SnowflakeServer
from tests.entrypoints.cli.conftest import Cli
from tests.servers.snowflake import require_snowflake

FLOWGUARD = Path(sysconfig.get_path("scripts")) / "flowguard"


@pytest.fixture
def snowflake_folder(cli: Cli, here: Path) -> Iterator[Path]:
    """Where `dev snowflake` keeps its server in this test; nothing of it runs afterwards."""
    require_snowflake()
    folder = here / "flowguard-data" / "snowflake"
    with ending_with_this_process(SnowflakeServer, folder):
        yield folder


@pytest.mark.snowflake
def test_up_status_down_and_up_again(cli: Cli, snowflake_folder: Path) -> None:
    up = cli("dev", "snowflake", "up", "--port", "0", "--json")
    assert up.code == 0
    assert up.json["sink_url"].startswith("snowflake://flowguard:flowguard@fakesnow/FLOWGUARD/BRONZE?host=127.0.0.1&")
    assert up.json["data_dir"] == str(snowflake_folder)

    again = cli("dev", "snowflake", "up")
    assert again.code == 0
    assert f"export FLOWGUARD_SINK_URL='{up.json['sink_url']}'\n" in again.out

    status = cli("dev", "snowflake", "status", "--json")
    assert (status.code, status.json) == (0, {"up": True, **up.json})

    assert cli("dev", "snowflake", "up", "--port", "1").code == 3

    assert cli("dev", "snowflake", "down", "--json").json["stopped"] == [up.json["pid"]]
    status = cli("dev", "snowflake", "status", "--json")
    assert (status.code, status.json["up"], status.json["pid"]) == (1, False, None)

    third = cli("dev", "snowflake", "up", "--json")
    assert third.json["sink_url"] == up.json["sink_url"]


@pytest.mark.snowflake
def test_it_stays_after_the_command_and_is_stopped_by_another(cli: Cli, snowflake_folder: Path) -> None:
    done = subprocess.run(
        [FLOWGUARD, "dev", "snowflake", "up", "--port", "0"], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    status = cli("dev", "snowflake", "status")
    assert status.code == 0
    assert "runs" in status.out
    done = subprocess.run(
        [FLOWGUARD, "dev", "snowflake", "down"], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.startswith("Stopped")
    assert cli("dev", "snowflake", "status").code == 1


@pytest.mark.snowflake
def test_a_port_that_is_taken_is_one_line(cli: Cli, snowflake_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer = cli("dev", "snowflake", "up", "--port", port)
    assert (answer.code, answer.out) == (3, "")
    assert f"port {port} is taken" in answer.err
    assert not (snowflake_folder / "data").exists()


def test_a_folder_that_cannot_be_written_is_one_line(cli: Cli, here: Path) -> None:
    (here / "file").write_text("", "utf-8")
    answer = cli("dev", "snowflake", "up", "--data-dir", here / "file")
    assert answer.code == 3
    assert "cannot be written" in answer.err


def test_where_there_is_none_status_says_so_and_down_is_done(cli: Cli, here: Path) -> None:
    status = cli("dev", "snowflake", "status")
    assert status.code == 1
    assert "flowguard dev snowflake up" in status.out
    assert cli("dev", "snowflake", "status", "--json").json["up"] is False
    assert cli("dev", "snowflake", "down").code == 0
    assert list(here.iterdir()) == []
