"""The reference scenario on three brokers: 242 clicks in one of six partitions, five read again, still 242.

Into a SQLite file, with dead letters on Kafka; and into Snowflake, dead letters included.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer

from flowguard.entrypoints.dev.kafka import KafkaCluster
from tests.e2e.pipeline import Pipeline, rows_of, wait_until
from tests.faults.brokers import CLICKS, Brokers
from tests.servers.snowflake import connected

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
_Rows = Callable[[], list[dict[str, object]]]


def test_five_clicks_are_read_again_from_one_of_six_partitions(tmp_path: Path, kafka_cluster3: KafkaCluster) -> None:
    url = kafka_cluster3.url
    with Pipeline(tmp_path, log_url=url, dead_letter_url=url, group=tmp_path.name) as pipeline:
        brokers = _read_again(pipeline, kafka_cluster3, lambda: _in_file(pipeline))
        assert f"{CLICKS}.dlq" in brokers.topics()
        _goes_on(pipeline)


@pytest.mark.snowflake
def test_five_clicks_are_read_again_into_snowflake(
    tmp_path: Path, kafka_cluster3: KafkaCluster, snowflake_url: str
) -> None:
    with Pipeline(tmp_path, log_url=kafka_cluster3.url, sink_url=snowflake_url, group=tmp_path.name) as pipeline:
        planned = pipeline.run("migrate", "--dry-run")
        assert 'CREATE TABLE "CLICKS"' in planned.stdout, planned.stderr
        brokers = _read_again(pipeline, kafka_cluster3, lambda: _in_snowflake(snowflake_url))
        assert f"{CLICKS}.dlq" not in brokers.topics()
        assert _in_snowflake(snowflake_url, "CLICKS_DLQ")[0]["reason"] == "malformed"
        assert pipeline.command("check")["ok"]
        _goes_on(pipeline)
        assert pipeline.run("dlq", "discard", "--all").returncode == 0
        assert [one["state"] for one in pipeline.command("dlq", "list", "--state", "discarded")] == ["discarded"]


def _read_again(pipeline: Pipeline, cluster: KafkaCluster, rows: _Rows) -> Brokers:
    """All of the scenario, and a dead letter."""
    brokers = Brokers.with_no_topics(cluster)
    clicks = pipeline.folder / "clicks.ndjson"
    # One session: its clicks are in one partition, in order.
    clicks.write_text(
        "".join(
            json.dumps({"event_type": "clicks", "user_id": f"u{n}", "session_id": "s", "item_id": n, "ad_id": "a"})
            + "\n"
            for n in range(242)
        ),
        "utf-8",
    )
    migrated = pipeline.run("migrate")
    assert migrated.returncode == 0, migrated.stderr
    pipeline.start()
    pipeline.wait_ready()
    made = brokers.replicas()
    assert len(made) == 6
    assert all(len(one.in_sync) == 3 for one in made.values())
    assert pipeline.publish(clicks) == {"accepted": 242, "duplicate": 0, "rejected": 0}
    pipeline.wait_landed()
    before = rows()
    assert len(before) == 242
    (partition,) = {str(row["ingestion_id"]).split("-")[1] for row in before}
    place = f"{CLICKS}-{partition}"
    assert {row["ingestion_id"] for row in before} == {f"{place}-{offset}" for offset in range(242)}

    # While everything runs, as a person types it.
    replay = ["replay", "--stream", "clicks", "--partition", partition, "--from", "237"]
    done = pipeline.run(*replay)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{place}: 5 records at offsets 237..241 to read again; 5 exist, 0 would land, 0 would be dead letters",
        "Merged 0 clicks (skipped 5 duplicates)",
    ]
    assert rows() == before
    assert pipeline.command("status")["streams"]["clicks"]["landed"] == 242
    audited = pipeline.command("audit")["streams"]["clicks"]
    assert (audited["logged"], audited["landed"], audited["duplicates"]) == (242, 242, 0)

    # What another producer writes there, and is no event, becomes a dead letter, on Kafka too.
    poison = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all"})
    poison.produce(CLICKS, b"no event", b"s", int(partition))
    assert poison.flush(10) == 0
    wait_until(lambda: pipeline.command("dlq", "list") != [], "there is a dead letter")
    return brokers


def _goes_on(pipeline: Pipeline) -> None:
    """The consumer is not disturbed: what comes after lands as ever."""
    assert pipeline.command("traffic", "--events", "50", "--url", pipeline.url)["accepted"] == 50
    pipeline.wait_landed()
    audited = pipeline.command("audit")
    assert audited["ok"]
    assert audited["streams"]["clicks"]["dead_lettered"] == 1
    assert pipeline.stop() == 0


def _in_file(pipeline: Pipeline) -> list[dict[str, object]]:
    with rows_of(pipeline.warehouse) as connection:
        found = connection.execute("SELECT * FROM clicks ORDER BY ingestion_id")
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]


def _in_snowflake(url: str, table: str = "CLICKS") -> list[dict[str, object]]:
    with closing(connected(url)) as connection, connection.cursor() as cursor:
        found = cursor.execute(f"SELECT * FROM {table} ORDER BY 1, 4").fetchall()
        names = [column[0].lower() for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found]
