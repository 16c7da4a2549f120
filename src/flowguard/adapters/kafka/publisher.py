"""Publishing to Kafka: an answer when all in-sync replicas have the records."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from confluent_kafka import Producer

from flowguard.adapters.kafka.delivery import Places
from flowguard.adapters.kafka.health import ClientHealth
from flowguard.adapters.kafka.line import MakeProducer, ProducerLine
from flowguard.adapters.kafka.options import KafkaOptions
from flowguard.adapters.kafka.topic_ids import TopicIds
from flowguard.adapters.kafka.topics import KafkaTopics
from flowguard.domain.errors import BackpressureError, ConfigurationError, FlowGuardError, TransientError
from flowguard.domain.ingestion import RECORD_OVERHEAD
from flowguard.ports.publisher import EventPublisher, NewRecord, Receipt

_MIB: Final = 1024 * 1024
_LARGEST: Final = 1_000_000  # librdkafka's message.max.bytes, where it is not set
_LOOK_S: Final = 5.0


class KafkaEventPublisher(EventPublisher):
    """Sends to Kafka; connects at the first call. `max_bytes` and `max_messages` bound what is under way.

    A request that Kafka does not confirm within `delivery_timeout_s` (or the option delivery.timeout.ms) has an unknown
    outcome. `close` waits up to `close_s` for what is under way. `make_producer` makes the client.
    """

    def __init__(
        self,
        options: KafkaOptions,
        *,
        max_bytes: int = 64 * _MIB,
        max_messages: int = 500_000,
        delivery_timeout_s: float = 30.0,
        close_s: float = 10.0,
        make_producer: MakeProducer = Producer,
    ) -> None:
        self._options = options
        self._max_bytes = max_bytes
        self._max_messages = max_messages
        self._delivery_timeout_ms = int(delivery_timeout_s * 1_000)
        self._close_s = close_s
        self._make_producer = make_producer
        self._largest = int(options.given.get("message.max.bytes", _LARGEST))
        self._admin = KafkaTopics(options, timeout_s=_LOOK_S)
        self._topics = TopicIds(self._admin.topic_id, self._prepare)
        self._current: ProducerLine | None = None
        self._entering: set[asyncio.Future[None]] = set()
        self._closed = False

    async def publish(self, topic: str, records: Sequence[NewRecord]) -> Receipt:
        line = self._line()
        if line.unreachable:
            raise line.why()
        entered = asyncio.get_running_loop().create_future()
        self._entering.add(entered)
        try:
            known = await self._topics.before(topic)
            sent = self._send(topic, records) if records else None
        finally:
            self._entering.discard(entered)
            entered.set_result(None)
        if sent is None:
            return Receipt(known.topic_id, ())
        try:
            places = await sent
        except FlowGuardError:
            self._topics.forget(topic)
            raise
        return Receipt(await self._topics.after(topic, known, places), places)

    async def check(self) -> None:
        line = self._line()
        await asyncio.to_thread(line.check)

    async def close(self) -> None:
        self._closed = True
        if self._entering:  # those who came before it, and ask for their topic first
            await asyncio.wait(self._entering, timeout=self._close_s)
        line, self._current = self._current, None
        if line is not None:
            await asyncio.to_thread(line.close, self._close_s)
        self._admin.close()

    def _line(self) -> ProducerLine:
        """The client; another one where it met a fatal error."""
        if self._closed:
            raise TransientError("this publisher is closed")
        if self._current is None or self._current.dead:
            # One that follows another that found no broker has to find one before anything is given to it.
            self._current = self._new_line(unreachable=self._current is not None and self._current.unreachable)
        return self._current

    def _new_line(self, *, unreachable: bool) -> ProducerLine:
        health = ClientHealth()
        configuration = self._options.producer(
            health,
            defaults={"delivery.timeout.ms": self._delivery_timeout_ms},
            # The bound is ours, and counts before anything of a request is sent.
            owned={"queue.buffering.max.messages": 0, "queue.buffering.max.kbytes": 2_147_483_647},
        )
        return ProducerLine(configuration, health, self._make_producer, unreachable=unreachable)

    def _prepare(self, topic: str) -> None:
        if (line := self._current) is not None:
            line.prepare(topic)

    def _send(self, topic: str, records: Sequence[NewRecord]) -> asyncio.Future[Places]:
        line = self._current
        if line is None:
            raise TransientError("this publisher was closed")
        size = self._admitted(line, topic, records)
        try:
            return line.send(topic, records, size)
        except TransientError:
            if not line.dead:
                raise
        return self._line().send(topic, records, size)

    def _admitted(self, line: ProducerLine, topic: str, records: Sequence[NewRecord]) -> int:
        """The bytes of a request that there is room for."""
        keys, values, _ = zip(*records, strict=True)
        sizes, key_sizes = list(map(len, values)), list(map(len, filter(None, keys)))
        if max(sizes) + max(key_sizes, default=0) > self._largest:
            self._refuse_too_large(topic, records)
        size = sum(sizes) + sum(key_sizes) + RECORD_OVERHEAD * len(records)
        if line.queued and (
            line.queued_bytes + size > self._max_bytes or line.queued + len(records) > self._max_messages
        ):
            raise BackpressureError(
                f"{line.queued:,} events ({line.queued_bytes:,} bytes) wait for Kafka; send it again in a second"
            )
        return size

    def _refuse_too_large(self, topic: str, records: Sequence[NewRecord]) -> None:
        for index, (key, value, _) in enumerate(records):
            if (size := len(value) + len(key or b"")) > self._largest:
                raise ConfigurationError(
                    f"topic {topic}: record {index} of the request has {size:,} bytes, and Kafka is given"
                    f" {self._largest:,} at most: raise FLOWGUARD_KAFKA__MESSAGE_MAX_BYTES, and the topic's"
                    " max.message.bytes"
                )
