"""For each fault test a deployment of FlowGuard, on three brokers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowguard.entrypoints.dev.kafka import KafkaCluster
from tests.faults.brokers import Brokers
from tests.faults.services import Deployment


@pytest.fixture
def brokers(kafka_cluster3: KafkaCluster) -> Brokers:
    return Brokers.with_no_topics(kafka_cluster3)


@pytest.fixture
def deployment(kafka_cluster3: KafkaCluster, brokers: Brokers, tmp_path: Path) -> Iterator[Deployment]:
    """Nothing runs yet but the cluster: the topics are there, and the tables."""
    with Deployment(
        tmp_path,
        log_url=kafka_cluster3.url,
        group=tmp_path.name,  # another one for each test
        # Batches are written as soon as they can be, so that a write is under way most of the time.
        batch__max_age_s="0.02",
    ) as deployment:
        yield deployment
