"""Brokers that die, one and all, and a topic that is deleted: what was accepted lands, and nobody has to help."""

from __future__ import annotations

import time

import pytest

from flowguard.entrypoints.dev.kafka import KafkaCluster
from tests.e2e.pipeline import wait_until
from tests.faults.brokers import CLICKS, Brokers
from tests.faults.services import SHORT_SESSION, Deployment
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

OUTAGE_S = 60.0


def test_one_of_three_brokers_is_killed_and_started_again(
    deployment: Deployment, kafka_cluster3: KafkaCluster, brokers: Brokers
) -> None:
    deployment.consumer("consumer")
    everybody = frozenset(node.id for node in kafka_cluster3.nodes)
    with Traffic(deployment.gateway()) as traffic:
        wait_until(lambda: len(positions(deployment)) == 6, "every partition carries traffic")
        before = brokers.replicas()
        assert {one.in_sync for one in before.values()} == {everybody}
        assert len(before) == 6
        victim = before[0].leader
        led = [number for number, one in before.items() if one.leader == victim]
        kafka_cluster3.kill(victim)
        wait_until(
            lambda: {brokers.replicas()[number].leader for number in led} <= everybody - {victim},
            "others lead what it led",
        )
        then = positions(deployment)
        wait_until(
            lambda: all(positions(deployment)[number] > then[number] for number in led), "what it led carries traffic"
        )
        kafka_cluster3.start_node(victim)
        kafka_cluster3.wait_ready()
        wait_until(
            lambda: all(one.in_sync == everybody for one in brokers.replicas().values()), "its copies are up to date"
        )
        traffic.wait_for(300)
        deployment.settle(traffic)


def test_all_brokers_are_down_for_a_minute(deployment: Deployment, kafka_cluster3: KafkaCluster) -> None:
    deployment.consumer("consumer", **SHORT_SESSION)  # the coordinator waits for that long for who it knew
    with Traffic(deployment.gateway()) as traffic:
        wait_until(lambda: deployment.landed() > 300, "there is traffic")
        for node in kafka_cluster3.nodes:
            kafka_cluster3.kill(node.id)
        down = time.monotonic()
        assert traffic.answers[503] == 0
        wait_until(lambda: traffic.answers[503] > 0, "the gateway says that it cannot")
        told_s = time.monotonic() - down
        accepted = len(traffic.accepted)
        time.sleep(max(0.0, down + OUTAGE_S - time.monotonic()))
        assert len(traffic.accepted) == accepted
        kafka_cluster3.start()
        up = time.monotonic()
        traffic.wait_for(300)
        recovered_s = time.monotonic() - up
        deployment.settle(traffic)  # all that was started runs still, untouched
    refusals = traffic.answers[503]
    print(
        f"no brokers for {up - down:.0f} s, told after {told_s:.0f} s, {refusals} times; back after {recovered_s:.1f} s"
    )
    assert up - down >= OUTAGE_S
    assert len(traffic.retry_after) == refusals
    assert all(said is not None and int(said) >= 1 for said in traffic.retry_after)
    assert traffic.answers[0] == 0


def test_a_topic_is_deleted_and_made_again(deployment: Deployment, brokers: Brokers) -> None:
    consumers = [deployment.consumer(name, **SHORT_SESSION) for name in ("one", "two")]
    url = deployment.gateway()
    with Traffic(url, "old") as old:
        for consumer in consumers:
            consumer.wait_said("Assigned")
        old.wait_for(300)
        old.finish()
    deployment.wait_landed()
    before = rows(deployment)
    assert before.keys() == old.accepted.keys()
    assert all(ingestion_id.startswith(f"{CLICKS}-") for ingestion_id in before.values())

    brokers.delete(CLICKS)
    with Traffic(url, "new") as new:
        wait_until(lambda: new.answers[503] > 0, "the gateway has no place for events")
        assert new.answers[202] == 0
        migrated = deployment.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        new.wait_for(300)
        wait_until(lambda: deployment.landed() > len(before) + 100, "new events land")
        deployment.settle(old, new)
    after = rows(deployment)
    assert before.items() <= after.items()
    fresh = {event_id: after[event_id] for event_id in new.accepted}
    # Their offsets are those of old ones; their ids are not.
    assert all(ingestion_id.startswith(f"{CLICKS}@2-") for ingestion_id in fresh.values())
    assert {one.replace("@2-", "-") for one in fresh.values()} & set(before.values())
    assert all(ingestion_id.startswith(f"{CLICKS}@2-") for ingestion_id in new.accepted.values())


def positions(deployment: Deployment) -> dict[int, int]:
    """How far each partition of clicks has landed, where anything of it has."""
    return dict(
        deployment.fetch("SELECT partition, next_offset FROM fg_positions WHERE topic = ? AND next_offset > 0", CLICKS)
    )


def rows(deployment: Deployment) -> dict[str, str]:
    """Ingestion ids by event id."""
    return dict(deployment.fetch("SELECT event_id, ingestion_id FROM clicks"))
