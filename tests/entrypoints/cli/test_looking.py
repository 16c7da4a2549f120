"""`status`, `audit` and `events` on a data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.domain.ingestion import Assignment, TopicPartition
from flowguard.domain.rows import Move, SinkBatch
from tests.application.pipeline import Pipeline
from tests.builders import CLICKS, ORDERS, event, rows
from tests.entrypoints.cli.conftest import Cli


@pytest.fixture
def pipeline(here: Path) -> Pipeline:
    return Pipeline("sqlite", here / "flowguard-data")


def _lose(pipeline: Pipeline, *lost: int) -> None:
    """Log ten clicks, and land all but these."""
    pipeline.log_events(CLICKS, [f"1/0/{offset}" for offset in range(10)])
    container = pipeline.container
    described = container.event_log().describe(CLICKS.topic, "flowguard")
    assert described is not None
    sink = container.sink()
    (claim,) = sink.claim("a broken consumer", [Assignment(TopicPartition(CLICKS.topic, 0), described.topic_id)])
    kept = [offset for offset in range(10) if offset not in lost]
    sink.write(SinkBatch((rows(CLICKS, kept),), (Move(claim, None, 10),)))


def test_status_as_json_has_the_promised_keys(cli: Cli, pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a", "b"])
    pipeline.ingest()
    pipeline.log_events(CLICKS, ["c"])
    answer = cli("status", "--json")
    assert answer.code == 0
    clicks = answer.json["streams"]["clicks"]
    assert 0 <= clicks.pop("oldest_unlanded_s") < 60
    assert clicks == {
        "topic": "raw.clicks.v1",
        "logged": 3,
        "landed": 2,
        "dead_lettered": 0,
        "lag": 1,
        "metadata_complete": 1.0,
    }
    assert list(answer.json["streams"]) == ["clicks", "orders"]


def test_status_as_text_is_one_line_a_stream(cli: Cli, pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a", "b"])
    pipeline.ingest()
    lines = cli("status").out.splitlines()
    assert lines[0].split()[:4] == ["stream", "topic", "logged", "landed"]
    assert lines[1].split() == ["clicks", "raw.clicks.v1", "2", "2", "0", "0", "-", "100.0%"]


def test_another_data_dir_by_flag_or_environment(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pipeline("sqlite", here / "other").log_events(CLICKS, ["a"])
    assert cli("status", "--json", "--data-dir", here / "other").json["streams"]["clicks"]["logged"] == 1
    monkeypatch.setenv("FLOWGUARD_DATA_DIR", str(here / "other"))
    assert cli("status", "--json").json["streams"]["clicks"]["logged"] == 1


def test_before_the_first_start_it_says_how_to_begin(cli: Cli) -> None:
    answer = cli("status")
    assert (answer.code, answer.out) == (3, "")
    assert "does not exist" in answer.err
    assert len(answer.err.splitlines()) == 1


def test_a_good_audit_exits_0(cli: Cli, pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a", "a"])
    pipeline.ingest()
    answer = cli("audit", "--json")
    assert answer.code == 0
    assert answer.json["ok"] is True
    assert answer.json["streams"]["clicks"] == {
        "logged": 2,
        "landed": 1,
        "dead_lettered": 0,
        "filtered": 0,
        "duplicates": 1,
        "in_flight": 0,
        "missing": [],
        "doubled": [],
    }
    assert "ok: every record is accounted for" in cli("audit").out


def test_a_gap_is_named_and_exits_1(cli: Cli, pipeline: Pipeline) -> None:
    _lose(pipeline, 3, 4, 5, 8)
    answer = cli("audit", "--json")
    assert answer.code == 1
    assert answer.json["ok"] is False
    place = {"topic": "raw.clicks.v1", "partition": 0, "incarnation": 1}
    assert answer.json["streams"]["clicks"]["missing"] == [
        {**place, "first": 3, "last": 5},
        {**place, "first": 8, "last": 8},
    ]
    text = cli("audit")
    assert text.code == 1
    assert "missing: raw.clicks.v1-0: offsets 3..5\n" in text.out
    assert "missing: raw.clicks.v1-0: offset 8\n" in text.out


def test_events_shows_rows_newest_first_with_their_payload(cli: Cli, pipeline: Pipeline) -> None:
    pipeline.log(CLICKS, [event(CLICKS, "a", user_id="ann"), event(CLICKS, "b", user_id="bob", extra=[1])])
    pipeline.log_events(ORDERS, ["o"])
    pipeline.ingest()
    shown = cli("events", "--json", "--stream", "clicks", "--limit", 1).json
    assert [row["event_id"] for row in shown] == ["b"]
    assert shown[0]["payload"]["extra"] == [1]
    assert shown[0]["user_id"] == "bob"
    assert shown[0]["source_offset"] == 1
    assert [row["event_id"] for row in cli("events", "--json", "--where", "user_id=ann").json] == ["a"]
    (order,) = cli("events", "--json", "--stream", "orders").json
    assert order["total"] == 19.98
    assert "raw.clicks.v1-0-0" in cli("events").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stream", "nope"], "no stream 'nope' in the catalog; there are: clicks, orders"),
        (["--where", "colour=red"], "column colour"),
        (["--where", "colour"], "COLUMN=VALUE"),
    ],
)
def test_events_says_what_it_does_not_know(cli: Cli, pipeline: Pipeline, arguments: list[str], said: str) -> None:
    answer = cli("events", *arguments)
    assert answer.code == 2
    assert said in answer.err


@pytest.mark.parametrize("command", ["status", "audit", "events", "dlq list", "dlq replay --all"])
def test_what_lives_in_another_process_cannot_be_seen(cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("FLOWGUARD_SINK_URL", "memory://")
    answer = cli(*command.split())
    assert answer.code == 3
    assert "sink_url: memory:// lives and ends inside the process of `flowguard up`" in answer.err
