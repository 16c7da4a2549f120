"""The reference scenario on three brokers: 242 clicks in one of six partitions, five read again, still 242."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import Producer

from flowguard.entrypoints.dev.kafka import KafkaCluster
from tests.e2e.pipeline import Pipeline, rows_of, wait_until
from tests.faults.brokers import CLICKS, Brokers

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def test_five_clicks_are_read_again_from_one_of_six_partitions(tmp_path: Path, kafka_cluster3: KafkaCluster) -> None:
    brokers, url = Brokers.with_no_topics(kafka_cluster3), kafka_cluster3.url
    clicks = tmp_path / "clicks.ndjson"
    # One session: its clicks are in one partition, in order.
    clicks.write_text(
        "".join(
            json.dumps({"event_type": "clicks", "user_id": f"u{n}", "session_id": "s", "item_id": n, "ad_id": "a"})
            + "\n"
            for n in range(242)
        ),
        "utf-8",
    )
    with Pipeline(tmp_path, log_url=url, dead_letter_url=url, group=tmp_path.name) as pipeline:
        migrated = pipeline.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        pipeline.start()
        pipeline.wait_ready()
        made = brokers.replicas()
        assert len(made) == 6
        assert all(len(one.in_sync) == 3 for one in made.values())
        assert pipeline.publish(clicks) == {"accepted": 242, "duplicate": 0, "rejected": 0}
        pipeline.wait_landed()
        before = _rows(pipeline)
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
        assert _rows(pipeline) == before
        assert pipeline.command("status")["streams"]["clicks"]["landed"] == 242
        audited = pipeline.command("audit")["streams"]["clicks"]
        assert (audited["logged"], audited["landed"], audited["duplicates"]) == (242, 242, 0)

        # What another producer writes there, and is no event, becomes a dead letter, on Kafka too.
        poison = Producer({"bootstrap.servers": kafka_cluster3.bootstrap, "acks": "all"})
        poison.produce(CLICKS, b"no event", b"s", int(partition))
        assert poison.flush(10) == 0
        wait_until(lambda: pipeline.command("dlq", "list") != [], "there is a dead letter")
        assert f"{CLICKS}.dlq" in brokers.topics()

        # The consumer is not disturbed: what comes after lands as ever.
        assert pipeline.command("traffic", "--events", "50", "--url", pipeline.url)["accepted"] == 50
        pipeline.wait_landed()
        audited = pipeline.command("audit")
        assert audited["ok"]
        assert audited["streams"]["clicks"]["dead_lettered"] == 1
        assert pipeline.stop() == 0


def _rows(pipeline: Pipeline) -> list[dict[str, object]]:
    with rows_of(pipeline.warehouse) as connection:
        found = connection.execute("SELECT * FROM clicks ORDER BY ingestion_id")
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]
