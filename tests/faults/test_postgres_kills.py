"""A consumer that dies between any two steps of a batch for PostgreSQL: the next one goes on where the sink stands."""

from __future__ import annotations

import signal

import pytest

from tests.faults.saboteur import Step
from tests.faults.services import Deployment
from tests.faults.traffic import Traffic
from tests.faults.warehouses import PostgresWarehouse

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


BY_STAGING = [Step.STAGED, Step.MERGED, Step.ABSORBED]


def refused(event_id: str) -> bool:
    return event_id.endswith("000")


def test_killed_after_every_step_of_a_batch(pipeline: Deployment, warehouse: PostgresWarehouse) -> None:
    warehouse.execute("ALTER TABLE clicks ADD CHECK (event_id NOT LIKE '%000')")
    url = pipeline.gateway(recent_ids="0")
    with Traffic(url, "insistent", insistent=True) as insistent:
        for step in BY_STAGING:
            kill_at(pipeline, step)
        insistent.finish()
    # Where events are new, batches go straight into the table.
    with Traffic(url) as traffic:
        for step in Step:
            if step not in BY_STAGING:
                kill_at(pipeline, step)
        pipeline.consumer("heir")
        pipeline.wait_more(100)
        pipeline.settle(insistent, traffic, refused=refused)
    ((absorbed,),) = warehouse.fetch("SELECT count(*) FROM fg_absorbed WHERE kind = 'duplicate'")
    assert absorbed > 0


def kill_at(pipeline: Deployment, step: Step) -> None:
    times = 1 if step in {Step.CLAIMED, Step.LETTERED} else 2
    victim = pipeline.sabotaged(f"victim of {step}", signal.SIGKILL, step, times)
    victim.wait_killed()
    assert f"SIGKILL: {step}" in victim.said
