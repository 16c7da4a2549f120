"""What Kafka says, told as what to do about it."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from flowguard.adapters.kafka.delivery import undelivered
from flowguard.adapters.kafka.errors import mapped, translated
from flowguard.adapters.kafka.health import ClientHealth
from flowguard.domain.errors import (
    BackpressureError,
    ConfigurationError,
    FlowGuardError,
    TransientError,
    UnknownOutcomeError,
)

DOING = "topic raw.things.v1"


def said(code: int, health: ClientHealth | None = None, *, starting: bool = False) -> FlowGuardError:
    return translated(KafkaError(code), DOING, health, starting=starting)


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.UNKNOWN,
        -12345,
    ],
)
def test_what_passes_is_transient(code: int) -> None:
    for starting in (True, False):
        assert type(said(code, starting=starting)) is TransientError


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "flowguard migrate"),
        (KafkaError._UNKNOWN_TOPIC, "flowguard migrate"),
        (KafkaError.TOPIC_EXCEPTION, "letters, digits"),
        (KafkaError.MSG_SIZE_TOO_LARGE, "max.message.bytes"),
        (KafkaError.INVALID_REPLICATION_FACTOR, "fewer brokers"),
        (KafkaError.POLICY_VIOLATION, "policy"),
        (KafkaError.INVALID_SESSION_TIMEOUT, "FLOWGUARD_KAFKA__SESSION_TIMEOUT_MS"),
        (KafkaError.FENCED_INSTANCE_ID, "FLOWGUARD_KAFKA__GROUP_INSTANCE_ID"),
        (KafkaError.UNSUPPORTED_VERSION, "too old"),
    ],
)
def test_what_a_person_has_to_mend_says_how(code: int, how: str) -> None:
    error = said(code)
    assert isinstance(error, ConfigurationError)
    assert how in str(error)
    assert DOING in str(error)


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    ],
)
def test_a_refusal_stops_a_start_and_holds_what_runs(code: int) -> None:
    """Rights and passwords are changed under running processes: nothing is given up for it."""
    start, later = said(code, starting=True), said(code)
    assert isinstance(start, ConfigurationError)
    assert type(later) is TransientError
    assert str(start) == str(later)
    assert "FLOWGUARD_KAFKA__SASL_USERNAME" in str(later)


def test_the_reason_why_nothing_is_reached_is_told() -> None:
    health = ClientHealth()
    health.on_error(KafkaError(KafkaError._TRANSPORT, "Connection refused"))
    assert "Connection refused" in str(said(KafkaError._TIMED_OUT, health))
    assert "Connection refused" not in str(said(KafkaError.LEADER_NOT_AVAILABLE, health))
    health.on_error(KafkaError(KafkaError._AUTHENTICATION, "invalid credentials"))
    refused = said(KafkaError._TIMED_OUT, health, starting=True)
    assert isinstance(refused, ConfigurationError)
    assert "invalid credentials" in str(refused)
    health.clear()
    assert type(said(KafkaError._TIMED_OUT, health, starting=True)) is TransientError


def test_a_full_queue_is_backpressure() -> None:
    for code in (KafkaError._QUEUE_FULL, KafkaError.THROTTLING_QUOTA_EXCEEDED):
        assert isinstance(said(code), BackpressureError)
    with pytest.raises(BackpressureError), mapped(DOING):
        raise BufferError("Local: Queue full")


def test_what_the_client_raises_is_kept_as_the_cause() -> None:
    cause = KafkaException(KafkaError(KafkaError._TRANSPORT))
    with pytest.raises(TransientError) as error, mapped(DOING):
        raise cause
    assert error.value.__cause__ is cause
    with pytest.raises(TransientError), mapped(DOING):
        raise KafkaException("of another kind")


# -- what became of a request ----------------------------------------------------------------------------------------


def outcome(*codes: int, count: int) -> FlowGuardError:
    return undelivered("raw.things.v1", [KafkaError(code) for code in codes], count)


def test_a_record_that_timed_out_is_unknown_never_failed() -> None:
    assert isinstance(outcome(KafkaError._MSG_TIMED_OUT, count=1), UnknownOutcomeError)


def test_a_request_that_is_logged_in_part_is_unknown() -> None:
    error = outcome(KafkaError.UNKNOWN_TOPIC_OR_PART, count=3)
    assert isinstance(error, UnknownOutcomeError)
    assert "1 of 3" in str(error)


@pytest.mark.parametrize("code", [KafkaError.REQUEST_TIMED_OUT, KafkaError._PURGE_INFLIGHT, KafkaError.UNKNOWN])
def test_what_nobody_can_say_is_unknown(code: int) -> None:
    assert isinstance(outcome(code, code, count=2), UnknownOutcomeError)


def test_a_request_that_is_surely_nowhere_says_why() -> None:
    missing = outcome(KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, count=2)
    assert isinstance(missing, ConfigurationError)
    denied = outcome(KafkaError.TOPIC_AUTHORIZATION_FAILED, count=1)
    assert type(denied) is TransientError
    purged = outcome(KafkaError._PURGE_QUEUE, count=1)
    assert type(purged) is TransientError


def test_a_record_that_never_fits_is_told_whatever_became_of_the_others() -> None:
    error = outcome(KafkaError._MSG_TIMED_OUT, KafkaError.MSG_SIZE_TOO_LARGE, count=9)
    assert isinstance(error, ConfigurationError)
    assert "max.message.bytes" in str(error)
