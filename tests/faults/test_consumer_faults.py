"""Consumers that die, freeze, come and go: their group goes on, and the sink lets nobody write twice."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from pathlib import Path
from random import Random

import pytest

from flowguard.adapters.sqlite.database import BUSY_TIMEOUT_S
from tests.e2e.pipeline import wait_until
from tests.faults.brokers import Brokers
from tests.faults.services import SHORT_SESSION, Deployment, Service
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

KILLS = 30
STORM_S = 60.0
BEAT_S = 2.0
POLL_INTERVAL_S = 4.0


def test_killed_thirty_times(deployment: Deployment) -> None:
    dice = Random(9)
    caught_in_flight = 0
    # Static members: whoever starts again under its name gets its partitions back at once.
    consumers = [deployment.consumer(name, kafka__group_instance_id=name) for name in ("one", "two")]
    with Traffic(deployment.gateway()) as traffic:
        for turn in range(KILLS):
            victim = consumers[turn % 2]
            victim.wait_said("Assigned")
            if dice.random() < 0.8:
                victim.wait_said(" clicks (skipped ", times=dice.randint(1, 8))
            victim.kill()
            caught_in_flight += len(traffic.accepted) > deployment.landed()
            victim.start()
        deployment.settle(traffic)
    print(f"{KILLS} kills, {caught_in_flight} with accepted clicks that had not landed")
    assert caught_in_flight >= KILLS // 4


def test_frozen_for_longer_than_its_session_and_thawed(deployment: Deployment) -> None:
    zombie, heir = (deployment.consumer(name, **SHORT_SESSION) for name in ("zombie", "heir"))
    with Traffic(deployment.gateway()) as traffic:
        wait_until(lambda: owns_some(deployment, zombie) and owns_some(deployment, heir), "both have landed something")
        with deployment.tables.locked():
            traffic.wait_for(300)  # by now both wait for the lock, each with a batch in hand
            zombie.freeze()
        inheritance = deployment.positions_of(zombie)
        taken_over = deployment.positions_of(heir)
        assert inheritance
        # The group gives them to the other one, which goes on from where the sink stands.
        wait_until(
            lambda: all(deployment.positions_of(heir).get(partition, 0) > at for partition, at in inheritance.items()),
            "the heir has landed what came for the zombie",
        )
        assert taken_over.keys() & inheritance.keys() == set()
        landed = deployment.landed()
        zombie.thaw()
        # Its batch was in hand when it froze: the sink refuses it.
        zombie.wait_said("Partitions fenced: raw.clicks.v1-")
        wait_until(lambda: owns_some(deployment, zombie), "it is a member again, and lands what is its own")
        assert deployment.landed() > landed
        deployment.settle(traffic)


def test_members_come_and_go_every_two_seconds(deployment: Deployment) -> None:
    steady = deployment.consumer("steady", **SHORT_SESSION)  # whose members soon hear of others
    guests: deque[Service] = deque()
    beats = int(STORM_S / BEAT_S)
    with Traffic(deployment.gateway()) as traffic:
        steady.wait_said("Assigned")
        began = time.monotonic()
        for beat in range(beats):
            # Two come, two go: each stays for two beats, and for as long as it takes until it has partitions.
            if beat % 4 < 2:
                guests.append(deployment.consumer(f"guest-{beat}", **SHORT_SESSION))
            else:
                guests[0].wait_said("Assigned")
                guests.popleft().stop()
            time.sleep(max(0.0, began + (beat + 1) * BEAT_S - time.monotonic()))
        storm_s = time.monotonic() - began
        seen, everywhere = rebalances(steady), sum(map(rebalances, deployment.services.values()))
        deployment.settle(traffic)
    print(
        f"{beats} joins and leaves in {storm_s:.0f} s: {everywhere} times partitions moved, {seen} times of one member"
    )
    assert storm_s >= STORM_S
    assert everywhere >= beats
    assert seen >= beats // 4


def test_a_sink_slower_than_the_poll_interval_costs_nobody_the_membership(
    deployment: Deployment, brokers: Brokers
) -> None:
    assert BUSY_TIMEOUT_S > POLL_INTERVAL_S  # one write takes longer, when the warehouse is locked
    interval = f"{POLL_INTERVAL_S * 1000:.0f}"
    settings = {**SHORT_SESSION, "kafka__session_timeout_ms": interval, "kafka__max_poll_interval_ms": interval}
    consumers = [deployment.consumer(name, **settings) for name in ("one", "two")]
    group = deployment.folder.name
    with Traffic(deployment.gateway()) as traffic:
        wait_until(lambda: all(owns_some(deployment, one) for one in consumers), "both have landed something")
        members = brokers.members(group)
        assert len(members) == 2
        before = [rebalances(one) for one in consumers]
        with deployment.tables.locked():
            locked = time.monotonic()
            landed = deployment.landed()
            while time.monotonic() < locked + 3 * POLL_INTERVAL_S:
                traffic.wait_for(100)
                assert brokers.members(group) == members
            assert deployment.landed() == landed
        for one in consumers:
            assert "Failed: write" in one.said  # it had a batch in hand all the time
        wait_until(lambda: deployment.landed() > landed, "what waited lands")
        traffic.wait_for(300)
        assert brokers.members(group) == members
        assert [rebalances(one) for one in consumers] == before
        deployment.settle(traffic)


def test_a_worker_is_killed_and_its_supervisor_brings_another(deployment: Deployment) -> None:
    crew = deployment.consumer("crew", "--workers", "3", **SHORT_SESSION)
    with Traffic(deployment.gateway()) as traffic:
        wait_until(lambda: len(owners(deployment)) == 3, "three processes share the partitions")
        wait_until(lambda: deployment.landed() > 100, "there is traffic")
        before = owners(deployment)
        assert crew.pid not in before
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in owners(deployment), "others have its partitions")
        wait_until(lambda: len(owners(deployment)) == 3, "there are three again")
        (fresh,) = owners(deployment) - before
        traffic.wait_for(300)
        deployment.settle(traffic)
    assert [pid for pid in before | {fresh} if Path(f"/proc/{pid}").exists()] == []


def owners(deployment: Deployment) -> set[int]:
    """The processes that own partitions, for the sink."""
    return {int(owner.rpartition(":")[2]) for (owner,) in deployment.fetch("SELECT DISTINCT owner FROM fg_positions")}


def rebalances(consumer: Service) -> int:
    """How often it was told of partitions that came or went (revoked, lost, fenced)."""
    return consumer.said.count(" Assigned ") + consumer.said.count(" Partitions ")


def owns_some(deployment: Deployment, consumer: Service) -> bool:
    """Whether it is the owner, for the sink, of a partition of which it has landed something since it started."""
    return any(deployment.positions_of(consumer).values())
