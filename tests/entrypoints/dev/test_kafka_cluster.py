"""Brokers of one's own, from the first start to kill -9."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, by its docs
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from flowguard.domain.errors import ConfigurationError
from flowguard.entrypoints.dev.free_ports import some_free
from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.kafka import KafkaCluster, KafkaStartError
from flowguard.entrypoints.dev.kafka_layout import Layout, choose_ports
from flowguard.entrypoints.dev.kafka_probe import ask
from tests.servers.kafka import require_kafka

WAIT_S = 30.0
SHORT_SESSION = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KafkaCluster]:
    """One broker, not started. After a kill it comes back when its session has ended, here sooner than by default."""
    require_kafka()
    folder = tmp_path / "kafka"
    with ending_with_this_process(KafkaCluster, folder):
        yield KafkaCluster(folder, properties=SHORT_SESSION)


def _make_topic(bootstrap: str, name: str) -> None:
    """With the cluster's own defaults."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name)], operation_timeout=WAIT_S)[name].result(WAIT_S)


def _write(bootstrap: str, topic: str, value: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce(topic, value)
    assert producer.flush(WAIT_S) == 0


def _first_value(bootstrap: str, topic: str) -> bytes | str | None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "g"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    message = consumer.poll(WAIT_S)
    consumer.close()
    assert message is not None
    return message.value()


@pytest.mark.kafka
@pytest.mark.slow
def test_a_second_start_is_the_same_cluster_with_its_data(cluster: KafkaCluster) -> None:
    cluster.start()
    known = (cluster.cluster_id, cluster.url)
    _make_topic(cluster.bootstrap, "kept")
    _write(cluster.bootstrap, "kept", "before the stop")
    cluster.stop()
    assert [node.pid for node in cluster.nodes] == [None]
    assert not cluster.ready
    cluster.start()
    assert (cluster.cluster_id, cluster.url) == known
    metadata = AdminClient({"bootstrap.servers": cluster.bootstrap}).list_topics(timeout=WAIT_S)
    assert str(metadata.cluster_id) == known[0]
    assert _first_value(cluster.bootstrap, "kept") == b"before the stop"


@pytest.mark.kafka
@pytest.mark.slow
def test_what_was_acknowledged_survives_a_kill(cluster: KafkaCluster) -> None:
    cluster.start()
    _make_topic(cluster.bootstrap, "kept")
    _write(cluster.bootstrap, "kept", "before the kill")
    cluster.kill(1)
    assert not cluster.ready
    cluster.start_node(1)
    cluster.wait_ready()
    assert _first_value(cluster.bootstrap, "kept") == b"before the kill"


@pytest.mark.kafka
def test_starting_it_while_it_runs_changes_nothing(cluster: KafkaCluster) -> None:
    cluster.start()
    again = KafkaCluster(cluster.folder)
    again.start()
    assert again.ready
    assert again.nodes == cluster.nodes
    other_port = KafkaCluster(cluster.folder, port=some_free("127.0.0.1"))
    with pytest.raises(ConfigurationError, match="holds a Kafka that runs, at port"):
        other_port.start()
    assert cluster.ready


@pytest.mark.kafka
def test_a_misspelt_topic_is_not_made(cluster: KafkaCluster) -> None:
    cluster.start()
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    assert admin.list_topics("misspelt", timeout=WAIT_S).topics["misspelt"].error is not None


@pytest.mark.kafka
@pytest.mark.slow
def test_a_broker_that_ends_by_itself_is_shown_with_its_log(cluster: KafkaCluster) -> None:
    cluster.start()
    cluster.stop()
    meta = cluster.folder / "node-1" / "data" / "meta.properties"
    meta.write_text(meta.read_text("utf-8").replace("node.id=1", "node.id=7"), "utf-8")
    with pytest.raises(KafkaStartError, match=r"(?s)broker 1 has ended; the end of .*server\.log:.*node id 7"):
        cluster.start()
    assert not any(node.pid for node in cluster.nodes)


@pytest.mark.kafka
def test_settings_that_kafka_refuses_are_passed_on(tmp_path: Path) -> None:
    require_kafka()
    cluster = KafkaCluster(tmp_path, properties={"message.max.bytes": "-5"})
    with pytest.raises(ConfigurationError, match=r"Kafka could not format .*message\.max\.bytes"):
        cluster.start()


@pytest.mark.kafka
def test_a_deadline_that_passes_stops_what_was_started(cluster: KafkaCluster) -> None:
    with pytest.raises(KafkaStartError, match="not ready within"):
        cluster.start(deadline_s=0.0)
    assert [node.pid for node in cluster.nodes] == [None]
    cluster.start()
    assert cluster.ready


@pytest.mark.kafka
def test_three_brokers_keep_three_copies(kafka_cluster3: KafkaCluster) -> None:
    _make_topic(kafka_cluster3.bootstrap, "copied")
    admin = AdminClient({"bootstrap.servers": kafka_cluster3.bootstrap})
    (partition,) = admin.list_topics("copied", timeout=WAIT_S).topics["copied"].partitions.values()
    assert sorted(partition.replicas) == [1, 2, 3]
    resource = ConfigResource(ResourceType.TOPIC, "copied")
    settings = admin.describe_configs([resource])[resource].result(WAIT_S)
    assert settings["min.insync.replicas"].value == "2"


@pytest.mark.kafka
@pytest.mark.slow
def test_a_broker_of_three_is_killed_and_comes_back(kafka_cluster3: KafkaCluster) -> None:
    _make_topic(kafka_cluster3.bootstrap, "survives")
    admin = AdminClient({"bootstrap.servers": kafka_cluster3.bootstrap})
    admin.create_topics([NewTopic("on-2-only", 1, replica_assignment=[[2]])])["on-2-only"].result(WAIT_S)
    before = kafka_cluster3.nodes
    kafka_cluster3.kill(2)
    assert [node.pid is None for node in kafka_cluster3.nodes] == [False, True, False]
    assert not kafka_cluster3.ready
    deadline = time.monotonic() + WAIT_S
    while (view := ask("127.0.0.1", before[0].port, WAIT_S)) is None or view.leaderless == 0:
        assert time.monotonic() < deadline, f"the others have not noticed: {view}"
        time.sleep(0.1)
    assert (view.brokers, view.leaderless) == (frozenset({1, 3}), 1)
    _write(kafka_cluster3.bootstrap, "survives", "with two of three")
    kafka_cluster3.start_node(2)
    kafka_cluster3.wait_ready()
    after = kafka_cluster3.nodes
    assert [node.port for node in after] == [node.port for node in before]
    assert [new.pid == old.pid for new, old in zip(after, before, strict=True)] == [True, False, True]
    assert _first_value(kafka_cluster3.bootstrap, "survives") == b"with two of three"


@pytest.mark.kafka
@pytest.mark.slow
def test_all_three_stop_and_start_again(kafka_cluster3: KafkaCluster) -> None:
    _make_topic(kafka_cluster3.bootstrap, "stays")
    _write(kafka_cluster3.bootstrap, "stays", "through it all")
    url = kafka_cluster3.url
    kafka_cluster3.stop()
    assert [node.pid for node in kafka_cluster3.nodes] == [None, None, None]
    kafka_cluster3.start()
    assert kafka_cluster3.url == url
    assert _first_value(kafka_cluster3.bootstrap, "stays") == b"through it all"


@pytest.mark.kafka
def test_a_broker_that_is_suspended_does_not_answer(
    kafka_cluster3: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowguard.entrypoints.dev.kafka._ASK_TIMEOUT_S", 0.5)
    kafka_cluster3.suspend(3)
    assert not kafka_cluster3.ready
    kafka_cluster3.resume(3)
    kafka_cluster3.wait_ready()


# -- without a broker ------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} is taken: .*--port"):
            choose_ports(1, None, port, ())


def test_ports_of_the_last_time_are_used_again() -> None:
    first = dict(choose_ports(3, None, None, ("SSL",)))
    assert len({port for ports in first.values() for port in ports.values()}) == 9
    assert choose_ports(3, Layout.new(first), None, ("SSL",)) == first
    other = some_free("127.0.0.1")
    assert choose_ports(3, Layout.new(first), other, ("SSL",)) == first | {
        "PLAINTEXT": {1: other, 2: other + 1, 3: other + 2}
    }


def test_no_port_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = iter([20_001, 20_001, 20_002])
    monkeypatch.setattr("flowguard.entrypoints.dev.free_ports.some_free", lambda _: next(ports))
    assert choose_ports(1, None, None, ()) == {"PLAINTEXT": {1: 20_001}, "CONTROLLER": {1: 20_002}}


def test_a_cluster_cannot_change_its_size(tmp_path: Path) -> None:
    Layout.new(choose_ports(3, None, None, ())).write(tmp_path)
    with pytest.raises(ConfigurationError, match="a cluster of 3, which cannot become one of 1"):
        KafkaCluster(tmp_path, 1)
    assert len(KafkaCluster(tmp_path).nodes) == 3


@pytest.mark.parametrize(
    "content", ["", "[]", '{"ports": {}}', '{"cluster_id": "x", "ports": {"PLAINTEXT": {"1": "y"}}}']
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "cluster.json").write_text(content, "utf-8")
    with pytest.raises(ConfigurationError, match=r"cluster\.json cannot be read"):
        KafkaCluster(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        KafkaCluster(tmp_path / "file" / "kafka").start()
