"""Consumers that go on, or stand still, where others have taken over: nobody writes twice, or waits for long."""

from __future__ import annotations

import signal

import pytest

from tests.e2e.pipeline import wait_until
from tests.faults.saboteur import Step
from tests.faults.services import Deployment
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.snowflake, pytest.mark.slow]

FENCES = 3


def test_two_consumers_own_the_same_partitions(snowpipeline: Deployment) -> None:
    """Of two groups, so that both are given everything, again and again."""
    ours, rival = snowpipeline.consumer("ours"), snowpipeline.consumer("rival", group="rival")
    with Traffic(snowpipeline.gateway()) as traffic:
        for one in (ours, rival):
            one.wait_said("Partitions fenced: raw.clicks.v1-0", times=FENCES)
        snowpipeline.wait_more(100)
        rival.stop()
        wait_until(lambda: 0 in snowpipeline.positions_of(ours), "the other one has them to itself")
        snowpipeline.wait_more(100)
        snowpipeline.settle(traffic)


@pytest.mark.parametrize("step", [Step.MOVED, Step.COPIED])
def test_frozen_with_its_locks_held(snowpipeline: Deployment, step: Step) -> None:
    """Its transaction is given up where others wait; what it had in hand, tried again, is refused."""
    with Traffic(snowpipeline.gateway()) as traffic:
        zombie = snowpipeline.sabotaged("zombie", signal.SIGSTOP, step, 3, group="zombie")
        zombie.wait_frozen()
        heir = snowpipeline.consumer("heir")
        wait_until(lambda: 0 in snowpipeline.positions_of(heir), "the heir owns the partition")
        snowpipeline.wait_more(100)
        zombie.thaw()
        zombie.wait_said("Partitions fenced: raw.clicks.v1-0")
        zombie.kill()  # it would claim the partition again, and again
        wait_until(lambda: 0 in snowpipeline.positions_of(heir), "the heir has it")
        snowpipeline.wait_more(100)
        snowpipeline.settle(traffic)
