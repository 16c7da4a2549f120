"""Publishing while Kafka is away, silent, or back again: with a broker of the tests' own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import monotonic

import pytest

from flowguard.adapters.kafka import KafkaEventLog, KafkaEventPublisher, KafkaOptions
from flowguard.domain.errors import TransientError, UnknownOutcomeError
from flowguard.entrypoints.dev.kafka import KafkaCluster
from flowguard.ports.publisher import Receipt
from tests.contracts.log_case import P0, TOPIC, read_all, things, values_of
from tests.servers.kafka import running_cluster

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    with running_cluster(tmp_path_factory.mktemp("kafka"), 1) as cluster:
        log = KafkaEventLog(KafkaOptions.of(cluster.url))
        log.ensure({TOPIC: 1})
        log.close()
        yield cluster


@pytest.fixture
def options(broker: KafkaCluster) -> KafkaOptions:
    broker.start()
    return KafkaOptions.of(broker.url)


def logged(options: KafkaOptions) -> list[bytes]:
    log = KafkaEventLog(options)
    try:
        return values_of(read_all(log, P0))
    finally:
        log.close()


async def until_it_publishes(publisher: KafkaEventPublisher, name: object, patience_s: float) -> None:
    deadline = monotonic() + patience_s
    while True:
        try:
            await publisher.publish(TOPIC, things(name))
        except UnknownOutcomeError:
            raise
        except TransientError:
            assert monotonic() < deadline, "it does not recover"
            await asyncio.sleep(0.05)
        else:
            return


async def until_refused_at_once(publisher: KafkaEventPublisher) -> str:
    """The publisher has noticed; returns what it says."""
    deadline = monotonic() + 10
    while True:
        started = monotonic()
        with pytest.raises(TransientError) as refused:
            await publisher.publish(TOPIC, things("refused"))
        if monotonic() < started + 0.1 and not isinstance(refused.value, UnknownOutcomeError):
            return str(refused.value)
        assert monotonic() < deadline, "it goes on waiting for each request"


def test_while_kafka_is_down_nothing_is_taken_and_then_it_recovers(broker: KafkaCluster, options: KafkaOptions) -> None:
    async def main() -> None:
        publisher = KafkaEventPublisher(options, delivery_timeout_s=2.0)
        await publisher.publish(TOPIC, things("before"))
        broker.kill(1)
        said = await until_refused_at_once(publisher)
        assert "cannot be reached" in said
        assert "refused" in said, "the reason is missing"
        with pytest.raises(TransientError, match="refused"):
            await publisher.check()
        await asyncio.to_thread(broker.start)
        back = monotonic()
        await until_it_publishes(publisher, "after", 10)
        assert monotonic() < back + 4
        await publisher.check()
        await publisher.close()

    asyncio.run(main())
    values = logged(options)
    assert values[0] == b"before"
    assert values[-1] == b"after"


def test_a_client_that_finds_no_broker_for_long_is_replaced(
    broker: KafkaCluster, options: KafkaOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have lost sight of them for ever; what takes its place is given nothing before it has found one."""
    monkeypatch.setattr("flowguard.adapters.kafka.line._BLIND_S", 0.5)

    async def main() -> None:
        publisher = KafkaEventPublisher(options, delivery_timeout_s=2.0)
        await publisher.publish(TOPIC, things("before replacing"))
        broker.kill(1)
        await until_refused_at_once(publisher)
        first, deadline = publisher._current, monotonic() + 30
        while publisher._current is first:
            started = monotonic()
            with pytest.raises(TransientError, match="cannot be reached"):
                await publisher.publish(TOPIC, things("refused"))
            assert monotonic() < started + 1, "a request waited for a client that has found nobody yet"
            assert monotonic() < deadline
        await asyncio.to_thread(broker.start)
        await until_it_publishes(publisher, "after replacing", 20)
        await publisher.close()

    asyncio.run(main())
    assert logged(options)[-2:] == [b"before replacing", b"after replacing"]


def test_a_request_that_is_under_way_when_kafka_goes_lands_once_it_is_back(
    broker: KafkaCluster, options: KafkaOptions
) -> None:
    async def main() -> None:
        publisher = KafkaEventPublisher(options, delivery_timeout_s=60.0)
        await publisher.publish(TOPIC, things("first"))
        broker.suspend(1)
        waiting = [asyncio.ensure_future(publisher.publish(TOPIC, things(f"w{number}"))) for number in range(3)]
        await asyncio.sleep(0)
        done, _ = await asyncio.wait(waiting, timeout=0.5)
        assert not done, "the broker was not silent"
        broker.resume(1)
        assert all(isinstance(one, Receipt) for one in await asyncio.gather(*waiting))
        await publisher.close()

    asyncio.run(main())
    assert logged(options)[-4:] == [b"first", b"w0", b"w1", b"w2"]


def test_a_request_that_kafka_does_not_confirm_is_unknown_and_the_next_is_refused_at_once(
    broker: KafkaCluster, options: KafkaOptions
) -> None:
    async def main() -> None:
        publisher = KafkaEventPublisher(options, delivery_timeout_s=1.0)
        await publisher.publish(TOPIC, things("first"))
        broker.suspend(1)
        with pytest.raises(UnknownOutcomeError, match="did not confirm 2 of 2"):
            await publisher.publish(TOPIC, things("x", "y"))
        await until_refused_at_once(publisher)
        broker.resume(1)
        await until_it_publishes(publisher, "after", 20)
        await publisher.close()

    asyncio.run(main())
    assert logged(options)[-1] == b"after"


def test_closing_does_not_wait_for_kafka_for_ever(broker: KafkaCluster, options: KafkaOptions) -> None:
    async def main() -> None:
        publisher = KafkaEventPublisher(options, close_s=0.5)
        await publisher.publish(TOPIC, things("first"))
        broker.suspend(1)
        waiting = asyncio.ensure_future(publisher.publish(TOPIC, things("x")))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        started = monotonic()
        await publisher.close()
        assert monotonic() < started + 5
        with pytest.raises(TransientError):
            await waiting

    try:
        asyncio.run(main())
    finally:
        broker.resume(1)


def test_a_start_without_kafka_says_so_and_recovers(broker: KafkaCluster, options: KafkaOptions) -> None:
    broker.kill(1)

    async def main() -> None:
        publisher = KafkaEventPublisher(options)
        with pytest.raises(TransientError, match="cannot be reached"):
            await publisher.publish(TOPIC, things("x"))
        await until_refused_at_once(publisher)
        await asyncio.to_thread(broker.start)
        await until_it_publishes(publisher, "back", 10)
        await publisher.close()

    asyncio.run(main())
    assert logged(options)[-1] == b"back"
