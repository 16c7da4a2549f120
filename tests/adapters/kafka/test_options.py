"""How the cluster is named and how librdkafka is set; all but the last without a broker."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from time import monotonic
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from flowguard.adapters.kafka import KafkaOptions
from flowguard.adapters.kafka.health import ClientHealth
from flowguard.adapters.kafka.topics import KafkaTopics
from flowguard.domain.errors import ConfigurationError, FlowGuardError
from tests.servers.kafka import Kafka

URL = "kafka://127.0.0.1:9"
SASL = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "anna"}


def refused(url: str = URL, options: Mapping[str, object] | None = None) -> str:
    with pytest.raises(ConfigurationError) as error:
        KafkaOptions.of(url, options)
    return str(error.value)


# -- the URL -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "bootstrap"),
    [
        ("kafka://host1:9093,host2:9094", "host1:9093,host2:9094"),
        ("kafka://host1,host2:9094/", "host1:9092,host2:9094"),
        ("kafka://[::1]:9093,[fe80::1]", "[::1]:9093,[fe80::1]:9092"),
        ("kafka://broker-0.kafka.svc.cluster.local", "broker-0.kafka.svc.cluster.local:9092"),
    ],
)
def test_a_url_names_brokers(url: str, bootstrap: str) -> None:
    assert KafkaOptions.of(url).bootstrap == bootstrap


@pytest.mark.parametrize(
    "url", ["kafka://", "kafka://,", "kafka://a b", "kafka://a:x", "kafka://a:0", "kafka://a:99999", "kafka://::1"]
)
def test_what_names_no_broker_is_refused(url: str) -> None:
    assert "kafka://host1:9092,host2:9092" in refused(url)


@pytest.mark.parametrize("url", ["kafka://a/topic", "kafka://a?x=1", "kafka://a#x", "sqlite:///a.db"])
def test_a_url_has_brokers_and_nothing_else(url: str) -> None:
    assert "by its brokers only" in refused(url)


def test_a_password_in_the_url_is_not_repeated() -> None:
    said = refused("kafka://anna:hunter2@broker:9092")
    assert "FLOWGUARD_KAFKA__SASL_PASSWORD" in said
    assert "hunter2" not in said


# -- the options ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"socket.timeout.ms": 5_000},
        {"socket_timeout_ms": "5000"},
        {"SOCKET_TIMEOUT_MS": 5_000},
        {"socket": {"timeout": {"ms": 5_000}}},
        {"socket": {"timeout_ms": "5000"}},
    ],
)
def test_an_option_has_many_spellings(given: Mapping[str, object]) -> None:
    made = KafkaOptions.of(URL, given).producer(ClientHealth())
    assert made["socket.timeout.ms"] == "5000"


def test_an_option_that_is_set_twice_is_refused_unless_they_agree() -> None:
    assert "LINGER_MS" in refused(options={"linger.ms": 3, "queue_buffering_max_ms": 4})
    KafkaOptions.of(URL, {"linger.ms": 3, "queue_buffering_max_ms": 3})


@pytest.mark.parametrize(
    ("given", "name", "said"),
    [
        ({"no_such_option": "1"}, "FLOWGUARD_KAFKA__NO_SUCH_OPTION", "No such configuration property"),
        ({"linger_ms": "soon"}, "FLOWGUARD_KAFKA__LINGER_MS", "Invalid value"),
        ({"fetch_min_bytes": -4}, "FLOWGUARD_KAFKA__FETCH_MIN_BYTES", "outside allowed range"),
        ({"debug": "everything", "client_id": "us"}, "FLOWGUARD_KAFKA__DEBUG", "everything"),
        ({"partitioner": "mine"}, "FLOWGUARD_KAFKA__PARTITIONER", "mine"),
        ({"security_protocol": "SSL", "ssl_ca_location": "/no/such/file"}, "SSL_CA_LOCATION", "ssl.ca.location"),
        ({"ssl_ca_location": ["a"]}, "FLOWGUARD_KAFKA__SSL_CA_LOCATION", "not list"),
    ],
)
def test_what_librdkafka_does_not_take_is_told_at_once_in_its_own_words(
    given: Mapping[str, object], name: str, said: str
) -> None:
    text = refused(options=given)
    assert name in text
    assert said in text
    assert "CLIENT_ID" not in text, "only the culprit is named"


@pytest.mark.parametrize(
    ("given", "instead"),
    [
        ({"bootstrap_servers": "a:1"}, "FLOWGUARD_LOG_URL"),
        ({"metadata.broker.list": "a:1"}, "FLOWGUARD_LOG_URL"),
        ({"group_id": "g"}, "FLOWGUARD_GROUP"),
        ({"enable_auto_commit": "true"}, "when its rows have landed"),
        ({"auto.commit.enable": True}, "when its rows have landed"),
        ({"enable_auto_offset_store": True}, "when its rows have landed"),
        ({"auto_offset_reset": "latest"}, "never jumped over"),
        ({"enable_idempotence": False}, "twice"),
        ({"acks": 1}, "in-sync replicas"),
        ({"request.required.acks": "0"}, "in-sync replicas"),
        ({"transactional_id": "t"}, "no transactions"),
        ({"isolation_level": "read_uncommitted"}, "aborted transactions"),
        ({"enable_partition_eof": True}, "end of a partition"),
        ({"allow_auto_create_topics": True}, "flowguard migrate"),
        ({"delivery_report_only_error": True}, "where each event is"),
        ({"queue_buffering_max_messages": 5}, "bounds what waits"),
    ],
)
def test_what_flowguard_decides_is_refused_with_the_reason(given: Mapping[str, object], instead: str) -> None:
    assert instead in refused(options=given)


def test_what_agrees_with_flowguard_may_be_said() -> None:
    KafkaOptions.of(URL, {"acks": "all", "enable.idempotence": True, "isolation.level": "read_committed"})


def test_the_users_options_win_over_defaults_and_lose_to_what_must_be() -> None:
    options = KafkaOptions.of(URL, {"linger.ms": 50, "client.id": "us", "fetch.min.bytes": 7})
    health = ClientHealth()
    producer = options.producer(health, defaults={"linger.ms": 1, "batch.size": 9}, owned={"client.id": "must"})
    assert (producer["linger.ms"], producer["batch.size"], producer["client.id"]) == ("50", 9, "must")
    assert (producer["acks"], producer["enable.idempotence"]) == ("all", True)
    consumer = options.consumer("ours", health, defaults={"fetch.min.bytes": 1})
    assert (consumer["group.id"], consumer["fetch.min.bytes"], consumer["client.id"]) == ("ours", "7", "us")
    assert consumer["enable.auto.commit"] is False


def test_each_client_is_given_only_what_it_takes(capfd: pytest.CaptureFixture[str]) -> None:
    """A warning of librdkafka at every start would hide those that matter."""
    lines: list[str] = []

    class Listening(ClientHealth):
        def log(self, level: int, line: str, *parts: object) -> None:
            lines.append(line % parts)

    given = {
        "linger_ms": 3,
        "compression_type": "zstd",
        "session_timeout_ms": 9_000,
        "fetch_min_bytes": 5,
        "log_level": 7,
    }
    options = KafkaOptions.of(URL, given)
    health = Listening()
    clients: list[Any] = [Producer(options.producer(health)), AdminClient(options.admin(health))]
    consumer = Consumer(options.consumer("ours", health))
    for client in (*clients, consumer):
        client.poll(0.05)
    consumer.close()
    assert [line for line in lines if "CONFWARN" in line] == []
    assert capfd.readouterr().err == ""


# -- what is kept quiet --------------------------------------------------------------------------------------------

SECRETS = {
    "sasl.password": "hunter2",
    "ssl.key.password": "opensesame",
    "ssl.keystore.password": "s3same-store",
    "sasl.oauthbearer.client.secret": "swordfish",
    "sasl.oauthbearer.config": "principal=xyzzy",
    "ssl.key.pem": "-----BEGIN PRIVATE KEY-----plugh",
}


def test_secrets_are_in_no_repr() -> None:
    options = KafkaOptions("a:1", {**SASL, **SECRETS})
    for text in (repr(options), str(options), f"{options}", repr([options]), repr({"o": options})):
        assert "sasl.password" in text
        assert not [secret for secret in SECRETS.values() if secret in text]


def test_secrets_are_in_no_error() -> None:
    for broken in ({"no.such.option": 1}, {"security.protocol": "hunter2"}, {"debug": "swordfish,xyzzy"}):
        text = refused(options={**SASL, **SECRETS, **broken})
        assert not [secret for secret in SECRETS.values() if secret in text], text


def test_options_travel_to_another_process() -> None:
    options = KafkaOptions.of(URL, SASL | {"sasl.password": "x"})
    assert pickle.loads(pickle.dumps(options)) == options


def test_no_broker_is_asked_when_options_are_made() -> None:
    """Of a token endpoint neither."""
    started = monotonic()
    KafkaOptions.of(
        URL,
        {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_oauthbearer_method": "oidc",
            "sasl_oauthbearer_client_id": "us",
            "sasl_oauthbearer_client_secret": "swordfish",
            "sasl_oauthbearer_token_endpoint_url": "http://127.0.0.1:9/token",
        },
    )
    assert monotonic() < started + 2


def test_a_broker_that_is_down_is_told_once_a_minute_and_never_on_stderr(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    health = ClientHealth()
    producer = Producer(KafkaOptions.of(URL).producer(health))
    deadline = monotonic() + 10
    attempts = 0
    while attempts < 4:
        assert monotonic() < deadline
        health.reason = ""
        producer.poll(0.1)
        attempts += bool(health.reason)
    assert len([line for line in caplog.messages if "Connection refused" in line]) == 1
    assert capfd.readouterr().err == ""
    assert health.down


def test_callbacks_never_raise(caplog: pytest.LogCaptureFixture) -> None:
    """An exception out of one destroys what the client had in hand."""
    health = ClientHealth()
    health.on_error(None)  # type: ignore[arg-type]  # it is no error
    health.log("high", "%s", object())  # type: ignore[arg-type]  # it is no level
    assert len(caplog.records) == 2


@pytest.mark.kafka
def test_secrets_are_in_no_log(kafka: Kafka, caplog: pytest.LogCaptureFixture) -> None:
    """Not even where librdkafka tells all it does."""
    caplog.set_level(logging.DEBUG)
    options = KafkaOptions.of(kafka.url, {**SASL, "sasl.password": "hunter2", "debug": "all", "log_level": 7})
    with pytest.raises(FlowGuardError) as error:
        KafkaTopics(options, timeout_s=0.5, starting=True).look("raw.things.v1")
    producer = Producer(options.producer(ClientHealth()))
    with pytest.raises(KafkaException):
        producer.list_topics(timeout=0.5)
    assert len(caplog.records) > 20
    assert "anna" in caplog.text or "SASL" in caplog.text
    assert "hunter2" not in caplog.text + str(error.value)
