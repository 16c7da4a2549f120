"""`flowguard dev postgres`: a server with one command, or one line that says what is missing."""

from __future__ import annotations

import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.postgres import PostgresServer
from tests.entrypoints.cli.conftest import Cli
from tests.servers.postgres import require_postgres

FLOWGUARD = Path(sysconfig.get_path("scripts")) / "flowguard"


@pytest.fixture
def postgres_folder(cli: Cli, here: Path) -> Iterator[Path]:
    """Where `dev postgres` keeps its server in this test; nothing of it runs afterwards."""
    require_postgres(here)
    folder = here / "flowguard-data" / "postgres"
    with ending_with_this_process(PostgresServer, folder):
        yield folder


@pytest.mark.postgres
def test_up_status_down_and_up_again(cli: Cli, postgres_folder: Path) -> None:
    up = cli("dev", "postgres", "up", "--port", "0", "--json")
    assert up.code == 0
    assert up.json["sink_url"] == f"postgresql://flowguard@{up.json['address']}/flowguard"
    assert up.json["data_dir"] == str(postgres_folder)

    again = cli("dev", "postgres", "up")
    assert again.code == 0
    assert f"export FLOWGUARD_SINK_URL={up.json['sink_url']}\n" in again.out

    status = cli("dev", "postgres", "status", "--json")
    assert (status.code, status.json) == (0, {"up": True, **up.json})

    assert cli("dev", "postgres", "up", "--port", "1").code == 3

    assert cli("dev", "postgres", "down", "--json").json["stopped"] == [up.json["pid"]]
    status = cli("dev", "postgres", "status", "--json")
    assert (status.code, status.json["up"], status.json["pid"]) == (1, False, None)

    third = cli("dev", "postgres", "up", "--json")
    assert third.json["sink_url"] == up.json["sink_url"]


@pytest.mark.postgres
def test_it_stays_after_the_command_and_is_stopped_by_another(cli: Cli, postgres_folder: Path) -> None:
    done = subprocess.run(
        [FLOWGUARD, "dev", "postgres", "up", "--port", "0"], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    status = cli("dev", "postgres", "status")
    assert status.code == 0
    assert "runs" in status.out
    done = subprocess.run(
        [FLOWGUARD, "dev", "postgres", "down"], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.startswith("Stopped")
    assert cli("dev", "postgres", "status").code == 1


@pytest.mark.postgres
def test_a_port_that_is_taken_is_one_line(cli: Cli, postgres_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer = cli("dev", "postgres", "up", "--port", port)
    assert (answer.code, answer.out) == (3, "")
    assert f"port {port} is taken" in answer.err
    assert not (postgres_folder / "data").exists()


def test_what_is_missing_is_one_line(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWGUARD_POSTGRES_BIN", str(here))
    answer = cli("dev", "postgres", "up", "--port", "0")
    assert (answer.code, answer.out) == (3, "")
    assert len(answer.err.splitlines()) == 1
    for text in (
        "there is no PostgreSQL server",
        "apt-get install",
        "FLOWGUARD_SINK_URL=postgresql://",
        "compose.yaml",
    ):
        assert text in answer.err


def test_a_folder_that_cannot_be_written_is_one_line(cli: Cli, here: Path) -> None:
    (here / "file").write_text("", "utf-8")
    answer = cli("dev", "postgres", "up", "--data-dir", here / "file")
    assert answer.code == 3
    assert "cannot be written" in answer.err


def test_where_there_is_none_status_says_so_and_down_is_done(cli: Cli, here: Path) -> None:
    status = cli("dev", "postgres", "status")
    assert status.code == 1
    assert "flowguard dev postgres up" in status.out
    assert cli("dev", "postgres", "status", "--json").json["up"] is False
    assert cli("dev", "postgres", "down").code == 0
    assert list(here.iterdir()) == []
