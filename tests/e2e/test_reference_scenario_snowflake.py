"""The reference scenario on Kafka and Snowflake: 242 clicks in one of six partitions, five read again, still 242."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer

from flowguard.entrypoints.dev.kafka import KafkaCluster
from tests.e2e.pipeline import Pipeline, wait_until
from tests.faults.brokers import CLICKS, Brokers
from tests.servers.snowflake import connected

pytestmark = [pytest.mark.kafka, pytest.mark.snowflake, pytest.mark.slow]


def test_five_clicks_are_read_again_and_none_lands_twice(
    tmp_path: Path, kafka_cluster3: KafkaCluster, snowflake_url: str
) -> None:
    Brokers.with_no_topics(kafka_cluster3)
    clicks = tmp_path / "clicks.ndjson"
    # One session: its clicks are in one partition, in order.
    click = {"event_type": "clicks", "session_id": "s", "ad_id": "a"}
    clicks.write_text(
        "".join(json.dumps(click | {"user_id": f"u{n}", "item_id": n}) + "\n" for n in range(242)), "utf-8"
    )
    urls = {"log_url": kafka_cluster3.url, "sink_url": snowflake_url, "dead_letter_url": snowflake_url}
    with Pipeline(tmp_path, group=tmp_path.name, **urls) as pipeline:
        planned = pipeline.run("migrate", "--dry-run")
        assert 'CREATE TABLE "CLICKS"' in planned.stdout, planned.stderr
        migrated = pipeline.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        pipeline.start()
        pipeline.wait_ready()
        assert pipeline.publish(clicks) == {"accepted": 242, "duplicate": 0, "rejected": 0}
        pipeline.wait_landed()
        before = _rows(snowflake_url)
        assert len(before) == 242
        (partition,) = {str(ingestion_id).split("-")[1] for ingestion_id, _ in before}
        place = f"{CLICKS}-{partition}"
        assert {ingestion_id for ingestion_id, _ in before} == {f"{place}-{offset}" for offset in range(242)}

        done = pipeline.run("replay", "--stream", "clicks", "--partition", partition, "--from", "237")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            f"{place}: 5 records at offsets 237..241 to read again; 5 exist, 0 would land, 0 would be dead letters",
            "Merged 0 clicks (skipped 5 duplicates)",
        ]
        assert _rows(snowflake_url) == before
        assert pipeline.command("status")["streams"]["clicks"]["landed"] == 242
        assert pipeline.command("check")["ok"]

        # What is no event becomes a dead letter, and can be given up.
        poison = Producer({"bootstrap.servers": kafka_cluster3.bootstrap, "acks": "all"})
        poison.produce(CLICKS, b"no event", b"s", int(partition))
        assert poison.flush(10) == 0
        wait_until(lambda: pipeline.command("dlq", "list") != [], "there is a dead letter")
        assert pipeline.run("dlq", "discard", f"{place}-242").returncode == 0
        assert _found(
            snowflake_url, 'SELECT "OFFSET", REASON, STATE, BASE64_DECODE_STRING(VALUE_BASE64) FROM CLICKS_DLQ'
        ) == [(242, "malformed", "discarded", "no event")]

        assert pipeline.command("traffic", "--events", "50", "--url", pipeline.url)["accepted"] == 50
        pipeline.wait_landed()
        audited = pipeline.command("audit")
        assert audited["ok"]
        assert {stream["duplicates"] for stream in audited["streams"].values()} == {0}
        assert sum(stream["landed"] for stream in audited["streams"].values()) == 292
        assert audited["streams"]["clicks"]["dead_lettered"] == 1
        assert pipeline.stop() == 0


def _rows(url: str) -> list[tuple[object, ...]]:
    return _found(url, "SELECT INGESTION_ID, USER_ID FROM CLICKS ORDER BY INGESTION_ID")


def _found(url: str, query: str) -> list[tuple[object, ...]]:
    with closing(connected(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]
