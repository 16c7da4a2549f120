"""Appends to dead-letter topics, and comes back when the records are durable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from flowguard.adapters.kafka.errors import mapped, translated
from flowguard.adapters.kafka.health import ClientHealth
from flowguard.adapters.kafka.options import KafkaOptions
from flowguard.domain.errors import ConfigurationError, UnknownOutcomeError

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""The largest letter. A record that just fitted into its own topic (1 MB, unless that was raised) is larger as a
letter, by its headers, and a letter that cannot be put would hold its partition for ever. So the limit is far above, in
the producer and in the topics that we make; brokers take requests of 100 MB."""

_GRACE_S: Final = 5.0
"""The producer keeps to its delivery time-out itself; it is waited for that much longer."""


class NewRecord(NamedTuple):
    """A record for partition 0: what is put and marked has an order, whatever the topic's partitions."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class LetterWriter:
    """Connects at the first writing. A producer that has failed is thrown away: what it held is not sent later on."""

    def __init__(self, options: KafkaOptions, *, timeout_s: float) -> None:
        self._options = options
        self._timeout_s = timeout_s
        self._health = ClientHealth()
        self._producer: Producer | None = None

    def append(self, records: Sequence[NewRecord]) -> None:
        """Append them in order; returns when all in-sync replicas have them.

        Raises what `mapped` raises; UnknownOutcomeError where some of them were appended, or may have been.
        """
        if not records:
            return
        doing = f"topic {', '.join(sorted({record.topic for record in records}))}"
        reports = _Reports()
        done = False
        try:
            with mapped(doing, self._health):
                self._append(records, reports)
            done = reports.delivered == len(records)
        finally:
            if not done:
                self.close()
        if done:
            self._health.clear()
            return
        if reports.error is None:
            raise UnknownOutcomeError(f"{doing}: Kafka did not say in time whether it has the letters")
        error = translated(reports.error, doing, self._health)
        if reports.delivered and not isinstance(error, ConfigurationError):
            raise UnknownOutcomeError(f"{reports.delivered} of {len(records)} letters were put: {error}")
        raise error

    def _append(self, records: Sequence[NewRecord], reports: _Reports) -> None:
        producer = self._producer = self._producer or Producer(
            self._options.producer(
                self._health,
                owned={
                    "linger.ms": 0,  # it is waited for at once
                    "delivery.timeout.ms": round(self._timeout_s * 1000),
                    "message.max.bytes": MAX_MESSAGE_BYTES,
                },
            )
        )
        for record in records:
            while True:
                try:
                    producer.produce(
                        record.topic, record.value, record.key, 0, headers=[*record.headers], on_delivery=reports.take
                    )
                    break
                except BufferError:  # its queue is full: some must have gone before the next fits in
                    producer.poll(0.1)
                    if reports.error is not None:
                        return
        producer.flush(self._timeout_s + _GRACE_S)

    def close(self) -> None:
        """Let go of the connection, and of what was not sent yet. Idempotent; a later writing connects again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(0)


class _Reports:
    """What the broker said of each record. Its callback never raises."""

    def __init__(self) -> None:
        self.delivered = 0
        self.error: KafkaError | None = None

    def take(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.delivered += 1
        elif self.error is None:
            self.error = error
