"""A consumer that dies twenty times, between any two steps of a batch and at any moment: the next one goes on."""

from __future__ import annotations

import signal
from random import Random

import pytest

from tests.faults.saboteur import Step
from tests.faults.services import Deployment
from tests.faults.traffic import WITHOUT_PAGE, Traffic
from tests.faults.warehouses import SnowflakeWarehouse

pytestmark = [pytest.mark.snowflake, pytest.mark.slow]

KILLS = 20
BACKLOG = 5_000
"""Clicks that are more than a statement takes: they go by a file."""
STEPS = {
    # How often it comes to it before it dies there.
    Step.CLAIMED: 1,
    Step.LETTERED: 1,
    Step.MOVED: 2,
    Step.COPIED: 2,
    Step.ABSORBED: 1,
    Step.COMMITTED: 2,
    Step.GROUP_COMMITTED: 2,
}


def refused(event_id: str) -> bool:
    return event_id.endswith(WITHOUT_PAGE)


def test_killed_twenty_times(snowpipeline: Deployment, snow: SnowflakeWarehouse) -> None:
    snow.execute("ALTER TABLE clicks ALTER COLUMN page SET NOT NULL")
    dice = Random(5)
    caught_in_flight = 0
    with Traffic(snowpipeline.gateway(recent_ids="0"), insistent=True) as traffic:
        for step, times in STEPS.items():
            kill_at(snowpipeline, step, times)
        consumer = snowpipeline.consumer("consumer")
        for _ in range(KILLS - len(STEPS)):
            consumer.wait_said("Assigned")
            if dice.random() < 0.8:
                consumer.wait_said(" clicks (skipped ", times=dice.randint(1, 8))
            consumer.kill()
            caught_in_flight += len(traffic.accepted) > snowpipeline.landed()
            consumer.start()
        snowpipeline.wait_more(100)
        snowpipeline.settle(traffic, refused=refused)
    ((absorbed,),) = snow.fetch("SELECT count(*) FROM fg_absorbed WHERE kind = 'duplicate'")
    assert absorbed > 0
    assert caught_in_flight >= (KILLS - len(STEPS)) // 4


def test_killed_with_a_file_in_hand(snowpipeline: Deployment) -> None:
    with Traffic(snowpipeline.gateway()) as traffic:
        traffic.wait_for(BACKLOG)
        for step in (Step.STAGED, Step.COPIED):
            kill_at(snowpipeline, step, 1)
        snowpipeline.consumer("heir")
        snowpipeline.wait_more(BACKLOG)
        snowpipeline.settle(traffic)


def kill_at(snowpipeline: Deployment, step: Step, times: int) -> None:
    victim = snowpipeline.sabotaged(f"victim of {step}", signal.SIGKILL, step, times)
    victim.wait_killed()
    assert f"SIGKILL: {step}" in victim.said
