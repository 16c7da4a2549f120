"""Consumers that go on, or stand still, where others have taken over: nobody writes twice, or waits for long."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowguard.entrypoints.dev.kafka import KafkaCluster
from tests.e2e.pipeline import wait_until
from tests.faults.brokers import Brokers
from tests.faults.conftest import ON_POSTGRES
from tests.faults.saboteur import Step
from tests.faults.services import SHORT_SESSION, Deployment
from tests.faults.traffic import Traffic
from tests.faults.warehouses import PostgresWarehouse

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

FENCES = 3
ENDED = (
    "terminating connection due to administrator command",
    "terminating connection due to idle-in-transaction timeout",
    "server closed the connection unexpectedly",
)


def test_two_consumers_own_the_same_partitions(pipeline: Deployment) -> None:
    """Of two groups, so that both are given everything, again and again."""
    ours, rival = pipeline.consumer("ours"), pipeline.consumer("rival", group="rival")
    with Traffic(pipeline.gateway()) as traffic:
        for one in (ours, rival):
            one.wait_said("Partitions fenced: raw.clicks.v1-0", times=FENCES)
        pipeline.wait_more(100)
        rival.stop()
        wait_until(lambda: 0 in pipeline.positions_of(ours), "the other one has them to itself")
        pipeline.wait_more(100)
        pipeline.settle(traffic)


@pytest.mark.parametrize("step", [Step.IN_COPY, Step.MOVED])
def test_frozen_with_its_locks_held(pipeline: Deployment, warehouse: PostgresWarehouse, step: Step) -> None:
    with Traffic(pipeline.gateway()) as traffic:
        zombie = pipeline.sabotaged("zombie", signal.SIGSTOP, step, 3, group="zombie")
        zombie.wait_frozen()
        state = "active" if step is Step.IN_COPY else "idle in transaction"
        wait_until(lambda: standing_still(warehouse) == [(state,)], "its backend waits for it")
        heir = pipeline.consumer("heir")
        wait_until(lambda: 0 in pipeline.positions_of(heir), "the heir owns the partition")
        pipeline.wait_more(100)
        zombie.thaw()
        # Its session was ended; and what it had in hand, tried again, is refused.
        zombie.wait_said("Partitions fenced: raw.clicks.v1-0")
        assert any(text in zombie.said for text in ENDED)
        zombie.kill()  # it would claim the partition again, and again
        wait_until(lambda: 0 in pipeline.positions_of(heir), "the heir has it")
        pipeline.wait_more(100)
        pipeline.settle(traffic)


@pytest.fixture
def shared(
    kafka_cluster3: KafkaCluster, brokers: Brokers, tmp_path: Path, warehouse: PostgresWarehouse
) -> Iterator[Deployment]:
    """Kafka, whose group gives the partitions of a silent member to the others."""
    with Deployment(
        tmp_path, warehouse, log_url=kafka_cluster3.url, group=tmp_path.name, **ON_POSTGRES, **SHORT_SESSION
    ) as deployment:
        yield deployment


@pytest.mark.kafka
@pytest.mark.parametrize("step", [Step.IN_COPY, Step.MOVED])
def test_frozen_for_longer_than_its_session(shared: Deployment, warehouse: PostgresWarehouse, step: Step) -> None:
    heir = shared.consumer("heir")
    zombie = shared.sabotaged("zombie", signal.SIGSTOP, step, 10)
    with Traffic(shared.gateway()) as traffic:
        zombie.wait_frozen()
        inheritance = shared.positions_of(zombie)
        assert inheritance
        wait_until(
            lambda: all(shared.positions_of(heir).get(partition, 0) > at for partition, at in inheritance.items()),
            "the heir has landed what came for the zombie",
        )
        zombie.thaw()
        zombie.wait_said("Partitions ")  # lost, or fenced
        wait_until(lambda: any(shared.positions_of(zombie).values()), "it is a member again, and lands what is its own")
        shared.wait_more(100)
        shared.settle(traffic)
    assert any(text in zombie.said for text in ENDED)


def standing_still(warehouse: PostgresWarehouse) -> list[tuple[str]]:
    """The states of the backends that wait for their client in the middle of a transaction."""
    return warehouse.fetch(
        "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'flowguard'"
        " AND xact_start IS NOT NULL AND wait_event_type = 'Client' AND state_change < now() - interval '0.5 s'"
    )
