"""One Producer of the client and the thread that serves it: delivery reports, errors, and whether Kafka is there."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import repeat
from operator import length_hint
from time import monotonic
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from flowguard.adapters.kafka.delivery import Answer, Delivery, Places, resolve
from flowguard.adapters.kafka.errors import error_of, mapped, translated
from flowguard.adapters.kafka.health import ClientHealth
from flowguard.domain.errors import TransientError, UnknownOutcomeError
from flowguard.ports.publisher import NewRecord

MakeProducer = Callable[[dict[str, Any]], Producer]

_ANY_PARTITION: Final = -1
_POLL_S: Final = 0.1
_PROBE_S: Final = 1.0
_BLIND_S: Final = 15.0
"""So long without a broker, and the client may have lost sight of them for ever (ADR 9): it is replaced."""
_PROBE_TOPIC: Final = "flowguard"  # it need not exist: any answer shows that Kafka is there


class ProducerLine:
    """Sends requests, and answers for every record of them. Made and used in one loop; one thread serves the client.

    `queued` and `queued_bytes` are under way. `unreachable`: no broker has answered since that was last tried, about a
    second ago.
    """

    def __init__(
        self,
        configuration: dict[str, Any],
        health: ClientHealth,
        make: MakeProducer = Producer,
        *,
        unreachable: bool = False,
    ) -> None:
        with mapped("Kafka", health, starting=True):
            self._producer: Producer | None = make(configuration)
        self.queued = 0
        self.queued_bytes = 0
        self.unreachable = unreachable
        self._health = health
        self._health.down |= unreachable
        self._blind_since: float | None = None
        self._loop = asyncio.get_running_loop()
        self._pending: set[Delivery] = set()
        self._ending = threading.Event()
        self._flush_s = 0.0
        self._thread = threading.Thread(target=self._work, name="flowguard-kafka-producer", daemon=True)
        self._thread.start()

    @property
    def dead(self) -> bool:
        """The client met a fatal error: what is under way is being answered, and another line has to be made."""
        return self._health.fatal or self._producer is None

    def why(self) -> TransientError:
        """Why nothing can be sent now."""
        reason = f" ({self._health.reason})" if self._health.reason else ""
        return TransientError(f"Kafka cannot be reached{reason}; nothing was sent")

    def send(self, topic: str, records: Sequence[NewRecord], size: int) -> asyncio.Future[Places]:
        """Hand the records, of `size` bytes, to the client; the future tells their places, or why they have none.

        What this raises itself, it raises before anything was sent.
        """
        producer = self._producer
        if producer is None:
            raise self.why()
        delivery = Delivery(topic, len(records), size, self._loop, self._answered)
        keys, values, headers = zip(*records, strict=True)
        reports = iter(delivery.reports())
        columns: list[Any] = [repeat(topic), values, keys, repeat(_ANY_PARTITION), reports]
        if any(headers):
            columns += [repeat(None), repeat(0), map(list, headers)]
        self._pending.add(delivery)
        self.queued += delivery.count
        self.queued_bytes += size
        try:
            deque(map(producer.produce, *columns), maxlen=0)  # a loop in C: every record goes this way
        except (KafkaException, BufferError) as error:
            inner = error_of(error) or KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001  # public, in spite of its name
            self._health.fatal |= inner.code() == KafkaError._FATAL  # noqa: SLF001
            produced = delivery.count - length_hint(reports) - 1
            if not produced:
                self._forget(delivery)
                raise translated(inner, f"topic {topic}", self._health) from error
            delivery.cut(produced, inner)
        return delivery.future

    def prepare(self, topic: str) -> None:
        """Have the client learn of the topic, or learn again, as it was made again. Blocks."""
        with mapped(f"topic {topic}", self._health):
            if self._producer is not None:
                self._producer.list_topics(topic, timeout=5 * _PROBE_S)

    def check(self) -> None:
        """Raise what the brokers say to us now. Blocks, up to some seconds."""
        producer = self._producer
        if producer is None:
            raise self.why()
        with mapped("Kafka", self._health, starting=True):
            producer.list_topics(_PROBE_TOPIC, timeout=5 * _PROBE_S)

    def close(self, flush_s: float) -> None:
        """Wait up to so many seconds for what is under way, and let go. Blocks. Idempotent."""
        self._flush_s = flush_s
        self._ending.set()
        self._thread.join()

    def _work(self) -> None:
        producer = self._producer
        assert producer is not None  # noqa: S101  # it is let go of at the end of this
        try:
            while not self._ending.is_set() and not self.dead and not self._blind:
                producer.poll(_POLL_S)
                if self._health.down:
                    self._probe(producer)
            if not self.dead:
                producer.flush(self._flush_s)
        except KafkaException as error:  # a fatal one: the client raises it, and tells no callback
            self._health.died_of(error)
        finally:
            self._producer = None
            with suppress(KafkaException):
                producer.purge()
                producer.poll(0)
            with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                self._loop.call_soon_threadsafe(self._give_up)

    def _probe(self, producer: Producer) -> None:
        try:
            producer.list_topics(_PROBE_TOPIC, timeout=_PROBE_S)
        except KafkaException:
            self.unreachable = True
            self._blind_since = self._blind_since or monotonic()
        else:
            self._health.clear()
            self.unreachable = False
            self._blind_since = None

    @property
    def _blind(self) -> bool:
        """It has not found a broker for long, and nothing is lost by letting it go."""
        return self._blind_since is not None and monotonic() > self._blind_since + _BLIND_S and not self._pending

    def _answered(self, delivery: Delivery, answer: Answer) -> None:
        if delivery not in self._pending:
            return
        self._forget(delivery)
        if delivery.timed_out:
            self._health.down = True  # is Kafka there at all? The next requests need not wait as long to learn it
        resolve(delivery.future, answer)

    def _forget(self, delivery: Delivery) -> None:
        self._pending.discard(delivery)
        self.queued -= delivery.count
        self.queued_bytes -= delivery.size

    def _give_up(self) -> None:
        """Nothing will report of these any more."""
        for delivery in list(self._pending):
            text = f"topic {delivery.topic}: the connection to Kafka was given up ({self._health.reason or 'closed'})"
            self._answered(delivery, UnknownOutcomeError(text))
