"""`flowguard dev kafka`: a cluster with one command, or one line that says what is missing."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.kafka import KafkaCluster
from flowguard.entrypoints.dev.kafka_jars import OWN_JARS, cache_folder, read_lock
from tests.entrypoints.cli.conftest import Cli
from tests.entrypoints.dev.fakes import java_of, programs
from tests.servers.kafka import require_kafka

FLOWGUARD = Path(sysconfig.get_path("scripts")) / "flowguard"
JARS = os.environ.get(OWN_JARS)


@pytest.fixture
def kafka_folder(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where `dev kafka` keeps its cluster in this test; nothing of it runs afterwards."""
    if JARS is not None:
        monkeypatch.setenv(OWN_JARS, JARS)
    require_kafka()
    folder = here / "flowguard-data" / "kafka"
    with ending_with_this_process(KafkaCluster, folder):
        yield folder


@pytest.mark.kafka
def test_up_status_down_and_up_again(cli: Cli, kafka_folder: Path) -> None:
    up = cli("dev", "kafka", "up", "--port", "0", "--json")
    assert up.code == 0
    (broker,) = up.json["brokers"]
    assert up.json["log_url"] == f"kafka://{broker['address']}"
    assert up.json["data_dir"] == str(kafka_folder)

    again = cli("dev", "kafka", "up")
    assert again.code == 0
    assert f"FLOWGUARD_LOG_URL=kafka://{broker['address']}\n" in again.out

    status = cli("dev", "kafka", "status", "--json")
    assert (status.code, status.json) == (0, {"up": True, **up.json})

    assert cli("dev", "kafka", "up", "--brokers", "3").code == 3
    assert cli("dev", "kafka", "up", "--port", "1").code == 3

    assert cli("dev", "kafka", "down", "--json").json["stopped"] == [broker["pid"]]
    status = cli("dev", "kafka", "status", "--json")
    assert (status.code, status.json["up"], status.json["brokers"][0]["pid"]) == (1, False, None)

    third = cli("dev", "kafka", "up", "--json")
    assert (third.json["cluster_id"], third.json["log_url"]) == (up.json["cluster_id"], up.json["log_url"])


@pytest.mark.kafka
def test_it_stays_after_the_command_and_is_stopped_by_another(cli: Cli, kafka_folder: Path) -> None:
    done = subprocess.run(
        [FLOWGUARD, "dev", "kafka", "up", "--port", "0"], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    status = cli("dev", "kafka", "status")
    assert status.code == 0
    assert "runs" in status.out
    done = subprocess.run([FLOWGUARD, "dev", "kafka", "down"], check=False, capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("Stopped")
    assert cli("dev", "kafka", "status").code == 1


@pytest.mark.parametrize(
    ("scripts", "said"),
    [
        ({}, "needs Java 17 or newer, and there is none"),
        ({"java": java_of("1.8.0_392")}, "java is Java 8: install it"),
        ({"java": java_of("17.0.1")}, "there is no mvn"),
    ],
)
def test_what_is_missing_is_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripts: dict[str, str], said: str
) -> None:
    programs(tmp_path / "bin", monkeypatch, scripts)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _assert_unavailable(cli, said)


def test_a_corrupt_jar_is_one_line(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch, {"java": java_of("17.0.1")})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lock = read_lock()
    cache_folder(lock).mkdir(parents=True)
    for name in lock.sha256:
        (cache_folder(lock) / name).write_text("no jar", "utf-8")
    _assert_unavailable(cli, f"{min(lock.sha256)} is not the jar of the lock")


def _assert_unavailable(cli: Cli, said: str) -> None:
    answer = cli("dev", "kafka", "up", "--port", "0")
    assert (answer.code, answer.out) == (3, "")
    assert len(answer.err.splitlines()) == 1
    for text in (said, "FLOWGUARD_LOG_URL=kafka://HOST:PORT", "deploy/compose.yaml"):
        assert text in answer.err


def test_two_brokers_are_refused(cli: Cli) -> None:
    answer = cli("dev", "kafka", "up", "--brokers", "2")
    assert answer.code == 2
    assert "1 or 3" in answer.err


def test_where_there_is_none_status_says_so_and_down_is_done(cli: Cli, here: Path) -> None:
    status = cli("dev", "kafka", "status")
    assert status.code == 1
    assert "flowguard dev kafka up" in status.out
    assert cli("dev", "kafka", "status", "--json").json["up"] is False
    assert cli("dev", "kafka", "down").code == 0
    assert list(here.iterdir()) == []
