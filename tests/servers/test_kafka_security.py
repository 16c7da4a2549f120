"""The secured broker lets the right clients in, and no others: what tests of the security settings stand on."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient

from tests.servers.kafka_security import SecuredKafka

pytestmark = pytest.mark.kafka

DEADLINE_S = 30.0


def _brokers(settings: dict[str, str]) -> int:
    return len(AdminClient({**settings}).list_topics(timeout=DEADLINE_S).brokers)


def _refusal(settings: dict[str, str]) -> int:
    """The code of the first error that the client reports."""
    errors: list[KafkaError] = []
    # Standard error stays free of what librdkafka has to say of it.
    client = Producer({**settings, "log_level": 0, "error_cb": errors.append})
    deadline = time.monotonic() + DEADLINE_S
    while not errors:
        assert time.monotonic() < deadline, "neither let in nor refused"
        client.poll(0.1)
    code = errors[0].code()
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512", "OAUTHBEARER"])
def test_a_client_with_credentials_gets_in(secured_kafka: SecuredKafka, mechanism: str) -> None:
    assert _brokers(secured_kafka.sasl(mechanism)) == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_wrong_password_is_refused(secured_kafka: SecuredKafka, mechanism: str) -> None:
    assert _refusal(secured_kafka.sasl(mechanism) | {"sasl.password": "guessed"}) == KafkaError._AUTHENTICATION


def test_a_client_certificate_gets_in(secured_kafka: SecuredKafka) -> None:
    assert _brokers(secured_kafka.mtls()) == 1


def test_without_a_client_certificate_it_is_refused(secured_kafka: SecuredKafka) -> None:
    settings = secured_kafka.mtls()
    del settings["ssl.certificate.location"], settings["ssl.key.location"]
    # The broker hangs up after the handshake, as far as a client of TLS 1.3 can tell.
    assert _refusal(settings) in {KafkaError._SSL, KafkaError._TRANSPORT}
