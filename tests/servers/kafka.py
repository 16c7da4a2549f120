"""A real Apache Kafka for tests that carry the marker `kafka`.

`kafka` is one broker, shared by the whole run: a test makes topics and groups of its own names in it. `kafka_cluster3`
is three brokers, for tests that kill some; they leave all three running. `secured_kafka` is one that asks who its
clients are. Without Java or the jars the test is skipped, and says why. `FLOWGUARD_TEST_KAFKA_URL=kafka://host:port`
uses a cluster that runs already, as `kafka`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.kafka import KafkaCluster, Security
from flowguard.entrypoints.dev.kafka_program import KafkaProgram
from flowguard.entrypoints.dev.unavailable import KafkaUnavailableError
from tests.servers.kafka_security import SecuredKafka, make_certificates, security_by

RUNNING = "FLOWGUARD_TEST_KAFKA_URL"

SHORT_SESSIONS = {
    "group.min.session.timeout.ms": "500",
    "group.consumer.min.session.timeout.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "100",
}
"""Lets a test that suspends a consumer wait for less than the six seconds (classic) or 45 (KIP-848) of production."""


class Kafka(Protocol):
    """What most tests need to know of it."""

    @property
    def bootstrap(self) -> str:
        """host:port of every broker, as confluent-kafka's bootstrap.servers."""

    @property
    def url(self) -> str:
        """kafka://host:port, as FLOWGUARD_LOG_URL."""


@dataclass(frozen=True)
class RunningKafka:
    """One that somebody else has started."""

    url: str

    @property
    def bootstrap(self) -> str:
        return self.url.removeprefix("kafka://").strip("/")


def require_kafka() -> None:
    """Skip the test where this machine cannot run Kafka; fetches the jars."""
    try:
        KafkaProgram.find(print)
    except KafkaUnavailableError as error:
        pytest.skip(str(error))


@contextmanager
def running_cluster(folder: Path, brokers: int, security: Security | None = None) -> Iterator[KafkaCluster]:
    """Brokers of the caller's own, on free ports; skips the test where this machine cannot run Kafka."""
    require_kafka()
    cluster = KafkaCluster(folder, brokers, properties=SHORT_SESSIONS, security=security)
    with ending_with_this_process(KafkaCluster, folder):
        cluster.start()
        yield cluster


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    if url := os.environ.get(RUNNING):
        yield RunningKafka(url)
        return
    with running_cluster(tmp_path_factory.mktemp("kafka"), 1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka_cluster3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    with running_cluster(tmp_path_factory.mktemp("kafka3"), 3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl on the PATH to make certificates with")
    folder = tmp_path_factory.mktemp("kafka-secured")
    certificates = make_certificates(folder / "certificates")
    with running_cluster(folder, 1, security_by(certificates)) as cluster:
        yield SecuredKafka(cluster, certificates)
