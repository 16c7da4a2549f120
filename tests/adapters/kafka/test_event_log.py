"""What is Kafka's own about reading outside a group."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

import pytest
from confluent_kafka import Producer

from flowguard.adapters.kafka import KafkaEventLog
from flowguard.domain.audit import OffsetRanges
from flowguard.ports.publisher import NewRecord
from tests.adapters.kafka.storage import KafkaLogStorage
from tests.contracts.log_case import GROUP, P0, P1, TOPIC, offsets_of, publish, read_all, things, values_of
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka


@pytest.fixture
def storage(kafka: Kafka) -> Iterator[KafkaLogStorage]:
    storage = KafkaLogStorage(kafka.url)
    yield storage
    storage.close()


@pytest.fixture
def log(storage: KafkaLogStorage) -> KafkaEventLog:
    log = storage.event_log()
    log.ensure({TOPIC: 2})
    return log


def test_records_of_aborted_transactions_are_never_read(storage: KafkaLogStorage, log: KafkaEventLog) -> None:
    publish(storage, things("a"))
    (used,) = [place for place in (P0, P1) if log.logged(place)]
    storage.skip_offsets(used, 3)
    publish(storage, things("b"))
    storage.skip_offsets(used, 1)
    storage.skip_offsets(used, 2)
    assert offsets_of(read_all(log, used)) == [0, 4]
    assert offsets_of(log.read(used, 1, 4)) == [4]
    assert list(log.read(used, 1, 3)) == []


def test_where_only_aborted_records_are_left_a_read_is_empty_at_once(
    storage: KafkaLogStorage, log: KafkaEventLog
) -> None:
    publish(storage, things("a"))
    (used,) = [place for place in (P0, P1) if log.logged(place)]
    storage.skip_offsets(used, 3)
    started = monotonic()
    for first in (1, 2, 3, 4, 99):
        assert list(log.read(used, first, 2**62)) == []
    assert monotonic() < started + 5
    assert log.logged(used) == OffsetRanges([(0, 3)]), "who misses one of these reads it"


def test_what_comes_after_the_end_was_reached_is_read(storage: KafkaLogStorage, log: KafkaEventLog) -> None:
    publish(storage, things("a"))
    (used,) = [place for place in (P0, P1) if log.logged(place)]
    for number in range(1, 6):
        publish(storage, things(number))
        assert values_of(log.read(used, number, number + 5)) == [b"%d" % number]


def test_a_record_without_content_is_a_record(storage: KafkaLogStorage, log: KafkaEventLog) -> None:
    """Nor is there any in a tombstone, which other producers write."""
    publish(storage, things("a", "", "b"))
    (used,) = [place for place in (P0, P1) if log.logged(place)]
    producer = Producer({"bootstrap.servers": storage.options.bootstrap})
    producer.produce(used.topic, key=b"one key", partition=used.partition)
    producer.flush()
    assert values_of(log.read(used, 1, 1)) == [b""]
    assert values_of(log.read(used, 3, 3)) == [b""]
    assert values_of(read_all(log, used)) == [b"a", b"", b"b", b""]


def test_partitions_are_read_in_turn_and_again(storage: KafkaLogStorage, log: KafkaEventLog) -> None:
    for key in range(20):
        publish(storage, things(key, key=b"%d" % key))
    held = {place: values_of(read_all(log, place)) for place in (P0, P1)}
    assert sum(map(len, held.values())) == 20
    assert all(held.values())
    for place in (P1, P0, P1):
        assert values_of(read_all(log, place)) == held[place]


def test_a_topic_made_again_is_read_from_its_own_start(storage: KafkaLogStorage, log: KafkaEventLog) -> None:
    publish(storage, things("a", "b", "c"))
    (used,) = [place for place in (P0, P1) if log.logged(place)]
    assert values_of(read_all(log, used)) == [b"a", b"b", b"c"]
    storage.delete_topic(TOPIC)
    assert list(log.read(used, 0, 99)) == []
    log.ensure({TOPIC: 2})
    publish(storage, things("d", "e", "f", "g"))
    assert values_of(read_all(log, used)) == [b"d", b"e", b"f", b"g"]
    assert values_of(log.read(used, 3, 3)) == [b"g"]


def test_reading_joins_no_group_and_commits_nothing(storage: KafkaLogStorage, log: KafkaEventLog) -> None:
    publish(storage, things("a"))
    read_all(log, P0)
    read_all(log, P1)
    described = log.describe(TOPIC, GROUP)
    assert described is not None
    assert [span.committed for span in described.spans] == [None, None]
    assert storage._groups() == []


def test_what_is_left_after_a_bounded_read_is_read_as_often_as_it_is_asked_for(
    storage: KafkaLogStorage, log: KafkaEventLog
) -> None:
    values = [b"%d " % number + b"x" * 40_000 for number in range(500)]
    for start in range(0, 500, 100):
        publish(storage, [NewRecord(b"one key", value) for value in values[start : start + 100]])
    (used,) = [place for place in (P0, P1) if log.logged(place)]
    begun = log.read(used, 0, 2**62)
    assert 0 < len(offsets_of(begun)) < 500
    for _ in range(2):
        read = values_of(begun)
        while len(read) < 500:
            read += values_of(log.read(used, len(read), 2**62))
        assert read == values
    for _ in range(2):
        assert offsets_of(log.read(used, 490, 2**62)) == list(range(490, 500))
