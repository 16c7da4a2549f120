"""What is Kafka's own about publishing: bounds, refusals, and topics that are made again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from flowguard.adapters.kafka import KafkaEventLog, KafkaEventPublisher, KafkaOptions, TopicLayout
from flowguard.adapters.kafka.topics import KafkaTopics
from flowguard.domain.errors import BackpressureError, ConfigurationError, TransientError, UnknownOutcomeError
from flowguard.domain.ingestion import TopicPartition
from flowguard.ports.publisher import NewRecord, Receipt
from tests.adapters.kafka.storage import KafkaLogStorage
from tests.contracts.log_case import GROUP, P0, TOPIC, read_all, things, values_of
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka

NARROW = "raw.narrow.v1"
"""Its records have 1,000 bytes at most."""


@pytest.fixture
def storage(kafka: Kafka) -> Iterator[KafkaLogStorage]:
    storage = KafkaLogStorage(kafka.url)
    yield storage
    storage.close()


@pytest.fixture
def log(storage: KafkaLogStorage) -> KafkaEventLog:
    log = KafkaEventLog(storage.options, layouts={NARROW: TopicLayout(configs={"max.message.bytes": "1000"})})
    storage._closers.append(log.close)
    log.ensure({TOPIC: 1, NARROW: 1})
    return log


def using(publisher: KafkaEventPublisher, use: Callable[[KafkaEventPublisher], Awaitable[None]]) -> None:
    async def main() -> None:
        try:
            await use(publisher)
        finally:
            await publisher.close()

    asyncio.run(main())


def incompressible(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("bound", [{"max_bytes": 100_000}, {"max_messages": 12}])
def test_a_full_queue_keeps_nothing_of_a_call(
    storage: KafkaLogStorage, log: KafkaEventLog, bound: dict[str, Any]
) -> None:
    """And is empty again when Kafka has confirmed what was in it."""
    request = [NewRecord(None, b"x" * 8_000)] * 10

    async def use(publisher: KafkaEventPublisher) -> None:
        first, second = await asyncio.gather(
            publisher.publish(TOPIC, request), publisher.publish(TOPIC, request), return_exceptions=True
        )
        assert isinstance(first, Receipt)
        assert isinstance(second, BackpressureError)
        assert second.retry_after_s > 0
        assert len(log.logged(P0)) == 10
        await publisher.publish(TOPIC, request)
        await publisher.publish(TOPIC, request * 2)  # more than the bound, and alone
        assert len(log.logged(P0)) == 40

    using(KafkaEventPublisher(storage.options, **bound), use)


def test_a_record_that_is_too_large_is_named_before_anything_is_sent(
    storage: KafkaLogStorage, log: KafkaEventLog
) -> None:
    records = [*things("a", "b"), NewRecord(b"key", b"x" * 1_000_000), *things("c")]

    async def use(publisher: KafkaEventPublisher) -> None:
        with pytest.raises(ConfigurationError, match=r"record 2 .*1,000,003 bytes.*FLOWGUARD_KAFKA__MESSAGE_MAX_BYTES"):
            await publisher.publish(TOPIC, records)
        assert not log.logged(P0)

    using(storage.publisher(), use)


def test_a_record_that_the_topic_refuses_as_too_large_says_what_to_raise(
    storage: KafkaLogStorage, log: KafkaEventLog
) -> None:
    async def use(publisher: KafkaEventPublisher) -> None:
        with pytest.raises(ConfigurationError, match=r"max\.message\.bytes"):
            await publisher.publish(NARROW, [NewRecord(None, incompressible(5_000))])
        await publisher.publish(NARROW, things("small"))
        assert values_of(read_all(log, TopicPartition(NARROW, 0))) == [b"small"]

    using(storage.publisher(), use)


def test_a_client_that_is_beyond_repair_is_made_again(storage: KafkaLogStorage, log: KafkaEventLog) -> None:
    """With gapless guarantee, a record that the broker refuses is fatal to librdkafka's idempotent producer."""
    made: list[Producer] = []

    def make(configuration: dict[str, Any]) -> Producer:
        made.append(Producer(configuration))
        return made[-1]

    async def use(publisher: KafkaEventPublisher) -> None:
        await publisher.publish(TOPIC, things("before"))
        with pytest.raises((ConfigurationError, TransientError)):
            await publisher.publish(NARROW, [NewRecord(None, incompressible(5_000))])
        done = await asyncio.gather(
            *(publisher.publish(TOPIC, things(number)) for number in range(5)), return_exceptions=True
        )
        assert len(made) == 2, "the fault did not fire"
        kept = [b"%d" % number for number, one in enumerate(done) if isinstance(one, Receipt)]
        assert kept == [b"0", b"1", b"2", b"3", b"4"]
        assert values_of(read_all(log, P0)) == [b"before", *kept]

    options = KafkaOptions.of(storage.url, {"enable_gapless_guarantee": True})
    using(KafkaEventPublisher(options, make_producer=make), use)


class RefusingProducer(Producer):
    """Takes `left` records, and then one no more."""

    left = 1_000

    def produce(self, *arguments: Any) -> None:  # noqa: ANN401  # whatever it is given
        self.left -= 1
        if self.left == -1:
            raise KafkaException(KafkaError(KafkaError.INVALID_RECORD))
        super().produce(*arguments)


def test_a_request_that_the_client_breaks_off_is_unknown_unless_it_was_the_first_record(
    storage: KafkaLogStorage, log: KafkaEventLog
) -> None:
    made: list[RefusingProducer] = []

    def make(configuration: dict[str, Any]) -> Producer:
        made.append(RefusingProducer(configuration))
        return made[-1]

    async def use(publisher: KafkaEventPublisher) -> None:
        await publisher.publish(TOPIC, things("a"))
        made[0].left = 2
        with pytest.raises(UnknownOutcomeError, match="1 of 5"):
            await publisher.publish(TOPIC, things("b", "c", "d", "e", "f"))
        made[0].left = 0
        with pytest.raises(ConfigurationError, match="no such record"):
            await publisher.publish(TOPIC, things("g", "h"))
        await publisher.publish(TOPIC, things("i"))  # within the bound: what went wrong is not counted any more
        assert values_of(read_all(log, P0)) == [b"a", b"b", b"c", b"i"]

    using(KafkaEventPublisher(storage.options, max_messages=1, make_producer=make), use)


def test_receipts_of_a_topic_that_was_made_again_carry_its_new_id(storage: KafkaLogStorage, log: KafkaEventLog) -> None:
    """Though nothing failed in between, and the publisher has just looked at it."""

    async def use(publisher: KafkaEventPublisher) -> None:
        before = await publisher.publish(TOPIC, things("a", "b"))
        storage.delete_topic(TOPIC)
        log.ensure({TOPIC: 1})
        after = await publisher.publish(TOPIC, things("c"))
        described = log.describe(TOPIC, GROUP)
        assert described is not None
        assert before.topic_id != after.topic_id == described.topic_id
        assert list(after.places) == [(0, 0)]

    using(storage.publisher(), use)


def test_a_topic_made_again_is_noticed_even_where_offsets_are_further_on(
    storage: KafkaLogStorage, log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others were faster to fill it: then the publisher has seen it when it looks the next time."""
    monkeypatch.setattr("flowguard.adapters.kafka.topic_ids._FRESH_S", 0.0)

    async def use(publisher: KafkaEventPublisher) -> None:
        before = await publisher.publish(TOPIC, things("a"))
        storage.delete_topic(TOPIC)
        log.ensure({TOPIC: 1})
        other = storage.publisher()
        await other.publish(TOPIC, things(*range(9)))
        after = await publisher.publish(TOPIC, things("b"))
        await other.close()
        assert list(after.places) == [(0, 9)]
        assert before.topic_id != after.topic_id == KafkaTopics(storage.options).topic_id(TOPIC)

    using(storage.publisher(), use)


def test_a_refused_user_is_told_in_a_check_and_held_in_a_publish(kafka: Kafka) -> None:
    """The broker speaks no SASL: it refuses whoever does."""
    given = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_username": "u",
        "sasl_password": "p",
    }

    async def use(publisher: KafkaEventPublisher) -> None:
        with pytest.raises(ConfigurationError, match="FLOWGUARD_KAFKA__SASL_MECHANISM"):
            await publisher.check()
        with pytest.raises(TransientError, match=r"SASL|refuse"):
            await publisher.publish(TOPIC, things("a"))

    using(KafkaEventPublisher(KafkaOptions.of(kafka.url, given)), use)
