"""`replay`, `dlq` and `migrate` on a data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.ingestion import IngestionId
from tests.application.pipeline import Pipeline
from tests.builders import CLICKS, NOW, ORDERS, event
from tests.entrypoints.cli.conftest import Cli


@pytest.fixture
def pipeline(here: Path) -> Pipeline:
    return Pipeline("sqlite", here / "flowguard-data")


def _replay(cli: Cli, *more: object, first: int = 237):  # type: ignore[no-untyped-def] # noqa: ANN202
    return cli("replay", "--stream", "clicks", "--partition", 0, "--from", first, *more)


def test_replay_says_what_it_will_do_and_what_it_did(cli: Cli, pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, map(str, range(242)))
    pipeline.ingest()
    answer = _replay(cli)
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "raw.clicks.v1-0: 5 records at offsets 237..241 to read again; 5 exist, 0 would land, 0 would be dead letters",
        "Merged 0 clicks (skipped 5 duplicates)",
    ]
    assert cli("status", "--json").json["streams"]["clicks"]["landed"] == 242


def test_a_dry_run_does_nothing(cli: Cli, pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a"])
    pipeline.ingest()
    answer = _replay(cli, "--dry-run", "--json", first=0)
    assert answer.json["done"] is None
    assert answer.json["plan"]["records"] == 1
    assert "Merged" not in _replay(cli, "--dry-run", first=0).out


def test_replay_as_json(cli: Cli, pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a", "b", "c"])
    pipeline.ingest()
    answer = _replay(cli, "--to", 1, "--json", first=0).json
    assert answer == {
        "plan": {
            "stream": "clicks",
            "topic": "raw.clicks.v1",
            "partition": 0,
            "incarnation": 1,
            "first": 0,
            "last": 1,
            "earliest": 0,
            "position": 3,
            "records": 2,
            "exist": 2,
            "would_land": 0,
            "dead_letters": 0,
        },
        "done": {"read": 2, "inserted": 0, "duplicates": 2, "filtered": 0, "dead_lettered": 0},
    }


def test_what_is_in_flight_is_said_to_be_so(cli: Cli, pipeline: Pipeline) -> None:
    pipeline.log_events(CLICKS, ["a"])
    pipeline.ingest()
    pipeline.log_events(CLICKS, ["b"])
    assert "nothing to replay; the sink stands at 1" in _replay(cli, first=1).out
    assert "offsets from 1 on are in flight" in _replay(cli, "--to", 1, first=0).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stream", "nope", "--partition", 0, "--from", 0], "no stream 'nope'"),
        (["--stream", "clicks", "--partition", 9, "--from", 0], "no partition 9"),
        (["--stream", "clicks", "--partition", 0, "--from", 5, "--to", 4], "before --from 5"),
        (["--stream", "clicks", "--partition", 0], "--from"),
    ],
)
def test_replay_of_what_is_not_there_exits_2(cli: Cli, pipeline: Pipeline, arguments: list[object], said: str) -> None:
    answer = cli("replay", *arguments)
    assert answer.code == 2
    assert said in answer.err


def _letters(pipeline: Pipeline, *values: bytes) -> list[str]:
    ids = [IngestionId(CLICKS.topic, 1, 0, 100 + index) for index, _ in enumerate(values)]
    pipeline.container.dead_letters().put(
        [
            DeadLetter(one, Reason.INVALID, "was wrong then", b"key", value, (("trace", b"\xff1"),), 1_000, f"e{index}")
            for index, (one, value) in enumerate(zip(ids, values, strict=True))
        ],
        NOW,
    )
    return [str(one) for one in ids]


def test_dead_letters_are_listed_with_their_reason(cli: Cli, pipeline: Pipeline) -> None:
    first, second = _letters(pipeline, b"1", b"2")
    listed = cli("dlq", "list", "--json").json
    assert [one["ingestion_id"] for one in listed] == [first, second]
    assert listed[0] == {
        "ingestion_id": first,
        "topic": "raw.clicks.v1",
        "reason": "invalid",
        "error": "was wrong then",
        "event_id": "e0",
        "state": "open",
        "attempts": 1,
        "first_seen": "2026-01-02T03:04:05.678901Z",
        "last_seen": "2026-01-02T03:04:05.678901Z",
    }
    assert f"there may be more: --after {first}" in cli("dlq", "list", "--limit", 1).out
    assert [one["ingestion_id"] for one in cli("dlq", "list", "--json", "--after", first).json] == [second]
    assert cli("dlq", "list", "--json", "--stream", "orders").json == []
    assert cli("dlq", "list", "--json", "--reason", "malformed").json == []


def test_one_dead_letter_is_shown_as_it_was_logged(cli: Cli, pipeline: Pipeline) -> None:
    (one,) = _letters(pipeline, b'{"a": "\xc3\xa9\xff"}')
    shown = cli("dlq", "show", one, "--json").json
    assert (shown["value"], shown["key"], shown["headers"]) == ('{"a": "é\\xff"}', "key", [["trace", "\\xff1"]])
    assert "was wrong then" in cli("dlq", "show", one).out
    assert cli("dlq", "show", "raw.clicks.v1-0-7").code == 2
    assert "is no ingestion id" in cli("dlq", "show", "seven").err


def test_replayed_letters_are_on_their_topic_again(cli: Cli, pipeline: Pipeline) -> None:
    first, second = _letters(pipeline, event(CLICKS, "a"), event(CLICKS, "b"))
    assert cli("dlq", "replay", "--all", "--dry-run").out == "2 dead letters would be replayed\n"
    assert cli("dlq", "replay", first).out == "1 dead letter replayed: they are on their topic again\n"
    assert [one["ingestion_id"] for one in cli("dlq", "list", "--json").json] == [second]
    pipeline.ingest()
    assert [row["ingestion_id"] for row in cli("events", "--json").json] == [first]
    assert cli("dlq", "replay", "--stream", "clicks", "--json").json == {"replayed": 1, "matching": 1}
    assert cli("dlq", "list", "--json", "--all").json[1]["state"] == "replayed"


def test_replaying_letters_needs_to_know_which(cli: Cli, pipeline: Pipeline) -> None:
    _letters(pipeline, b"1")
    assert cli("dlq", "replay").code == 2
    assert len(cli("dlq", "list", "--json").json) == 1


def test_discarded_letters_are_kept_and_no_longer_open(cli: Cli, pipeline: Pipeline) -> None:
    (one,) = _letters(pipeline, b"1")
    assert cli("dlq", "discard", one, "raw.clicks.v1-0-7").out == "1 of 2 discarded\n"
    assert cli("dlq", "list", "--json").json == []
    assert [letter["state"] for letter in cli("dlq", "list", "--json", "--state", "discarded").json] == ["discarded"]


def test_migrate_makes_everything_once(cli: Cli, here: Path) -> None:
    planned = cli("migrate", "--dry-run", "--json").json
    assert planned["dry_run"] is True
    assert len(planned["migrations"]) >= 5
    assert not (here / "flowguard-data").exists()
    done = cli("migrate", "--json").json
    assert done["migrations"] == planned["migrations"]
    assert done["topics"] == [CLICKS.topic, ORDERS.topic]
    assert cli("migrate").out == "everything is up to date\n"
    assert cli("status").code == 0
