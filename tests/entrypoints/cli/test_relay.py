"""`relay`: from another FlowGuard log into the one of the settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.application.pipeline import Pipeline
from tests.builders import CLICKS, ORDERS
from tests.e2e.pipeline import DEADLINE_S, FLOWGUARD, wait_until
from tests.entrypoints.cli.conftest import Cli

FROM = ("relay", "--from", "sqlite:///spool/log.db")


@pytest.fixture
def spool(here: Path) -> Iterator[Pipeline]:
    """A FlowGuard of its own, whose log is moved."""
    made = Pipeline("sqlite", here / "spool", partitions=2)
    yield made
    made.close()


def _landed(cli: Cli) -> tuple[int, int]:
    streams = cli("status", "--json").json["streams"]
    return streams["clicks"]["landed"], streams["orders"]["landed"]


def _ingested(here: Path) -> None:
    pipeline = Pipeline("sqlite", here / "flowguard-data")
    pipeline.ingest()
    pipeline.close()


def test_all_that_another_log_holds_lands_here(cli: Cli, spool: Pipeline, here: Path) -> None:
    spool.log_events(CLICKS, map(str, range(7)))
    spool.log_events(ORDERS, ["o"])
    answer = cli(*FROM, "--until-empty")
    assert answer.code == 0
    assert answer.out.splitlines() == ["Relayed 7 records of raw.clicks.v1", "Relayed 1 records of raw.orders.v1"]
    _ingested(here)
    assert _landed(cli) == (7, 1)
    assert cli("audit").code == 0


def test_the_next_call_moves_what_came_since(cli: Cli, spool: Pipeline) -> None:
    spool.log_events(CLICKS, ["a"])
    cli(*FROM, "--until-empty")
    spool.log_events(CLICKS, ["b", "c"])
    assert cli(*FROM, "--until-empty", "--json").json == {
        "from": "sqlite:///spool/log.db",
        "to": "sqlite:///flowguard-data/log.db",
        "group": "flowguard-relay",
        "records": {"raw.clicks.v1": 2, "raw.orders.v1": 0},
    }


def test_what_was_moved_by_one_group_and_again_by_another_lands_once(cli: Cli, spool: Pipeline, here: Path) -> None:
    spool.log_events(CLICKS, ["a", "b"])
    for group in ("one", "two"):
        assert cli(*FROM, "--until-empty", "--group", group, "--json").json["records"]["raw.clicks.v1"] == 2
    _ingested(here)
    assert _landed(cli) == (2, 0)
    assert cli("audit").code == 0


def test_only_the_topics_that_are_named_are_moved(cli: Cli, spool: Pipeline) -> None:
    spool.log_events(CLICKS, ["a"])
    spool.log_events(ORDERS, ["o"])
    topic = ("--topic", ORDERS.topic)
    assert cli(*FROM, "--until-empty", *topic, *topic, "--json").json["records"] == {ORDERS.topic: 1}
    assert cli(*FROM, "--until-empty", "--json").json["records"] == {CLICKS.topic: 1, ORDERS.topic: 0}


def test_what_makes_no_sense_is_one_line_and_makes_nothing(cli: Cli, here: Path, spool: Pipeline) -> None:
    for url, told in {
        "sqlite:///flowguard-data/log.db": "there is no file flowguard-data/log.db",
        "sqlite:///typo/log.db": "there is no file typo/log.db",
        "memory://": "lives and ends inside one process",
        "nonsense": "nothing here speaks 'nonsense'://",
        "sqlite:///spool/warehouse.db": "",
    }.items():
        answer = cli("relay", "--from", url, "--until-empty")
        assert (answer.code, answer.out) == (3, ""), url
        assert told in answer.err
        assert len(answer.err.splitlines()) == 1
    assert cli(*FROM, "--topic", "raw.nope.v1").code == 2
    assert not (here / "flowguard-data" / "log.db").exists()
    cli("migrate")
    answer = cli("relay", "--from", f"sqlite:///{here}/flowguard-data/../flowguard-data/log.db")
    assert "is the log of the settings itself" in answer.err
    assert answer.code == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_goes_on_with_what_comes_until_it_is_asked_to_stop(
    cli: Cli, spool: Pipeline, here: Path, number: signal.Signals
) -> None:
    spool.log_events(CLICKS, ["a"])
    cli("migrate")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("FLOWGUARD_")}
    with subprocess.Popen(
        [FLOWGUARD, *FROM, "--json"], cwd=here, env=outside, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            wait_until(lambda: cli("status", "--json").json["streams"]["clicks"]["logged"] == 1, "the first one")
            spool.log_events(CLICKS, ["b"])
            wait_until(lambda: cli("status", "--json").json["streams"]["clicks"]["logged"] == 2, "the other")
            process.send_signal(number)
            out, err = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert (process.returncode, json.loads(out)["records"]) == (0, {CLICKS.topic: 2, ORDERS.topic: 0}), err.decode()
    assert f"{number.name}: finishing what is under way" in err.decode()
