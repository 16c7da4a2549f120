"""What Kafka and its client say, told as what the caller should do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from flowguard.adapters.kafka.health import REFUSED, ClientHealth
from flowguard.domain.errors import (
    BackpressureError,
    ConfigurationError,
    FlowGuardError,
    TransientError,
    UnknownOutcomeError,
)

_NO_TOPIC: Final = "there is no such topic: run `flowguard migrate`"
_NOT_ALLOWED: Final = (
    "the user may not do this: grant it (kafka-acls.sh), or set FLOWGUARD_KAFKA__SASL_USERNAME to one who may"
)
_REFUSED: Final = (
    "the brokers refuse us: check FLOWGUARD_KAFKA__SECURITY_PROTOCOL, FLOWGUARD_KAFKA__SASL_MECHANISM,"
    " FLOWGUARD_KAFKA__SASL_USERNAME and its password, and the certificates (FLOWGUARD_KAFKA__SSL_*)"
)
_TOO_LARGE: Final = (
    "a record is larger than Kafka takes: raise FLOWGUARD_KAFKA__MESSAGE_MAX_BYTES and the topic's max.message.bytes"
)

MISSING: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001  # public, in spite of the name: the client's own codes have one
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)
"""The topic or the partition is not there."""

DENIED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.DELEGATION_TOKEN_AUTHORIZATION_FAILED,
    }
)
TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_PERSON: Final = {
    **dict.fromkeys(MISSING, _NO_TOPIC),
    **dict.fromkeys(TOO_LARGE, _TOO_LARGE),
    KafkaError.TOPIC_EXCEPTION: "Kafka takes no such topic name: letters, digits, dot, - and _, at most 249 of them",
    KafkaError.INVALID_PARTITIONS: "Kafka takes no such number of partitions",
    KafkaError.INVALID_REPLICATION_FACTOR: "there are fewer brokers than replicas asked for",
    KafkaError.INVALID_CONFIG: "Kafka takes no such setting of a topic",
    KafkaError.POLICY_VIOLATION: "a policy of the cluster forbids it",
    KafkaError.INVALID_SESSION_TIMEOUT: "the brokers' group.min/max.session.timeout.ms do not allow"
    " FLOWGUARD_KAFKA__SESSION_TIMEOUT_MS",
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: "the group has members that share partitions another way: stop them first",
    KafkaError.INVALID_GROUP_ID: "Kafka takes no such group name: check FLOWGUARD_GROUP",
    KafkaError.FENCED_INSTANCE_ID: "another process runs under this FLOWGUARD_KAFKA__GROUP_INSTANCE_ID",
    KafkaError._FENCED: "another process runs under this FLOWGUARD_KAFKA__GROUP_INSTANCE_ID",  # noqa: SLF001
    KafkaError.INVALID_RECORD: "the topic takes no such record (a compacted topic wants a key)",
    KafkaError.UNSUPPORTED_COMPRESSION_TYPE: "the brokers do not know FLOWGUARD_KAFKA__COMPRESSION_TYPE",
    KafkaError.UNSUPPORTED_VERSION: "the brokers are too old, or switched this off",
    KafkaError._UNSUPPORTED_FEATURE: "the brokers are too old, or switched this off",  # noqa: SLF001
    KafkaError._INVALID_ARG: "the client does not take it",  # noqa: SLF001
    KafkaError._NOT_CONFIGURED: "the client is not configured for it",  # noqa: SLF001
}
_UNKNOWN: Final = frozenset(
    {
        KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
        KafkaError._PURGE_INFLIGHT,  # noqa: SLF001
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    }
)
_FULL: Final = frozenset({KafkaError._QUEUE_FULL, KafkaError.THROTTLING_QUOTA_EXCEEDED})  # noqa: SLF001
_UNREACHABLE: Final = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
    }
)


def error_of(error: BaseException) -> KafkaError | None:
    """The KafkaError in what the client raised."""
    inner = error.args[0] if error.args else None
    return inner if isinstance(inner, KafkaError) else None


def cause_of(fatal: KafkaError) -> KafkaError:
    """Which error was fatal: the client has it in the text only."""
    codes = {KafkaError(code).str(): code for code in vars(KafkaError).values() if isinstance(code, int)}
    found = max((text for text in codes if text in fatal.str()), key=len, default=None)
    return fatal if found is None else KafkaError(codes[found])


def translated(
    error: KafkaError, doing: str, health: ClientHealth | None = None, *, starting: bool = False
) -> FlowGuardError:
    """The FlowGuard error that tells the caller what to do; `doing` begins its text (`topic raw.clicks.v1`).

    `health` is of the client that said it, and knows why a broker cannot be reached. Who is refused (credentials,
    certificates, rights) is told to wait, as rights come and go under a running process, and `starting`, or in a check,
    to have it mended.
    """
    code = error.code()
    unreachable = code in _UNREACHABLE
    said = f"{error.name()}: {error.str()}"
    if unreachable and health is not None and health.reason:
        said = f"{said}; {health.reason}"
    refused = code in REFUSED or (unreachable and health is not None and health.refused)
    kind: type[FlowGuardError]
    if refused or code in DENIED:
        kind, text = ConfigurationError if starting else TransientError, _REFUSED if refused else _NOT_ALLOWED
    elif code in _PERSON:
        kind, text = ConfigurationError, _PERSON[code]
    elif code in _UNKNOWN:
        kind, text = UnknownOutcomeError, "Kafka did not say in time whether it has the records"
    elif code in _FULL:
        kind, text = BackpressureError, "Kafka takes no more just now"
    else:
        kind, text = TransientError, "Kafka cannot be reached" if unreachable else "Kafka cannot do it now"
    return kind(f"{doing}: {text} ({said})")


@contextmanager
def mapped(doing: str, health: ClientHealth | None = None, *, starting: bool = False) -> Iterator[None]:
    """Raise what the client raises inside as TransientError (Backpressure, UnknownOutcome) or ConfigurationError."""
    try:
        yield
    except KafkaException as error:
        inner = error_of(error)
        if inner is None:
            raise TransientError(f"{doing}: {error}") from error
        raise translated(inner, doing, health, starting=starting) from error
    except BufferError as error:
        raise BackpressureError(f"{doing}: the client's queue is full ({error})") from error
