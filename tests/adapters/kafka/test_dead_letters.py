from __future__ import annotations

import gc
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # public, by its docs

from flowguard.adapters.kafka.dead_letters import KafkaDeadLetterQueue, dead_letter_topic
from flowguard.adapters.kafka.letter_headers import headers_of
from flowguard.adapters.kafka.letter_index import Place
from flowguard.adapters.kafka.letter_reader import LetterReader
from flowguard.adapters.kafka.letter_writer import LetterWriter, NewRecord
from flowguard.adapters.kafka.options import KafkaOptions
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.errors import ConfigurationError, TransientError, UnknownOutcomeError
from flowguard.domain.ingestion import IngestionId
from flowguard.entrypoints.dev.kafka import KafkaCluster
from flowguard.ports.dead_letters import State
from tests.adapters.kafka.letter_storage import CLICKS_DLQ, KafkaDeadLetterStorage
from tests.adapters.kafka.test_letter_headers import CONNECT, SPRING
from tests.builders import CLICKS, NOW, NOW_MS, ORDERS, letter, place
from tests.contracts.durable import killed_after
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def storage(kafka: Kafka) -> Iterator[KafkaDeadLetterStorage]:
    storage = KafkaDeadLetterStorage(kafka.bootstrap)
    yield storage
    storage.close()


@pytest.fixture
def queue(storage: KafkaDeadLetterStorage) -> KafkaDeadLetterQueue:
    return storage.dead_letters()


def records(storage: KafkaDeadLetterStorage, topic: str, count: int) -> list[Message]:
    """The first records of the topic, as any consumer sees them."""
    with closing(Consumer({"bootstrap.servers": storage.bootstrap, "group.id": "anybody"})) as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        found: list[Message] = []
        deadline = monotonic() + 20
        while len(found) < count:
            assert monotonic() < deadline, f"{len(found)} of {count} records"
            found += consumer.consume(count - len(found), 0.2)
    assert [one.error() for one in found] == [None] * count
    return found


def offsets(queue: KafkaDeadLetterQueue) -> list[int]:
    return [one.letter.ingestion_id.offset for one in queue.page()]


# -- what is put -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spring", [False, True])
def test_any_consumer_finds_the_original_bytes_and_what_connect_and_spring_would_say(
    storage: KafkaDeadLetterStorage, spring: bool
) -> None:
    put = letter(7, partition=2)
    storage.dead_letters(spring=spring).put([put], NOW)
    (record,) = records(storage, CLICKS_DLQ, 1)
    assert (record.key(), record.value()) == (put.key, put.value)
    headers = record.headers()
    assert isinstance(headers, list)
    assert tuple(headers[:2]) == put.headers
    marks = dict(headers)
    assert marks["__connect.errors.offset"] == b"7"
    assert marks.get("kafka_dlt-original-partition") == (b"\0\0\0\2" if spring else None)


def test_a_letter_whose_record_carries_such_headers_comes_back_unchanged(queue: KafkaDeadLetterQueue) -> None:
    marked = replace(letter(2), headers=(*CONNECT, *SPRING, *headers_of(letter(1), NOW), ("fg-dlq-state", b"open")))
    queue.put([marked], NOW)
    assert [one.letter for one in queue.page()] == [marked]


def test_the_largest_record_of_a_topic_is_no_problem_with_any_error(queue: KafkaDeadLetterQueue) -> None:
    largest = replace(letter(1), value=os.urandom(1_048_450), error="too long: " + "x" * 5_000_000)
    queue.put([largest], NOW)
    queue.put([letter(2)], NOW)
    first, second = (one.letter for one in queue.page())
    assert (first.value, second) == (largest.value, letter(2))
    assert first.error.startswith("too long: x")


def test_a_letter_that_its_topic_is_too_small_for_needs_a_person(storage: KafkaDeadLetterStorage) -> None:
    """The topic was made by somebody else."""
    storage.delete(CLICKS.topic)
    storage.make(CLICKS.topic, configs={"max.message.bytes": "100000"})
    with pytest.raises(ConfigurationError, match=r"raw\.clicks\.v1\.dlq.*max\.message\.bytes"):
        storage.dead_letters().put([replace(letter(1), value=os.urandom(200_000))], NOW)


def test_without_its_topic_nothing_is_put_and_no_topic_is_made(storage: KafkaDeadLetterStorage) -> None:
    storage.delete(CLICKS.topic)
    queue = storage.dead_letters()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"raw\.clicks\.v1\.dlq.*flowguard migrate"):
            queue.put([letter(1)], NOW)
    assert list(queue.page()) == []
    storage.make(CLICKS.topic)
    assert list(queue.page()) == []
    queue.put([letter(1)], NOW)
    assert offsets(queue) == [1]


def test_a_letter_of_a_topic_that_nobody_would_read_is_refused(queue: KafkaDeadLetterQueue) -> None:
    with pytest.raises(ConfigurationError, match=r"nobody\.knows.*catalog"):
        queue.put([letter(1, topic="nobody.knows")], NOW)


def test_what_a_topic_does_not_take_needs_a_person_and_may_be_put_again(storage: KafkaDeadLetterStorage) -> None:
    both = [letter(1), replace(letter(1, topic=ORDERS.topic), key=None)]
    storage.delete(ORDERS.topic)
    storage.make(ORDERS.topic, configs={"cleanup.policy": "compact"})  # takes no record without a key
    queue = storage.dead_letters()
    with pytest.raises(ConfigurationError, match="compacted"):
        queue.put(both, NOW)
    storage.delete(ORDERS.topic)
    storage.make(ORDERS.topic)
    queue.put(both, LATER)
    assert [(one.letter, one.attempts) for one in queue.page()] == [(both[0], 2), (both[1], 1)]


@pytest.mark.slow
def test_some_put_and_some_not_is_an_unknown_outcome_and_putting_all_again_mends_it(
    kafka_cluster3: KafkaCluster,
) -> None:
    here, gone, _ = (node.id for node in kafka_cluster3.nodes)
    topics = {"lives.here": here, "lives.on.what.is.killed": gone}
    both = [letter(1, topic=topic) for topic in topics]
    with AdminClient({"bootstrap.servers": kafka_cluster3.bootstrap}) as admin:
        wanted = [NewTopic(dead_letter_topic(one), 1, replica_assignment=[[node]]) for one, node in topics.items()]
        for made in admin.create_topics(wanted).values():
            made.result(20)
    options = KafkaOptions.of(kafka_cluster3.url)
    with closing(KafkaDeadLetterQueue(options, topics, "flowguard", timeout_s=10)) as queue:
        queue.put(both, NOW)
        kafka_cluster3.kill(gone)
        try:
            with pytest.raises(UnknownOutcomeError, match="1 of 2"):
                queue.put(both, NOW)
        finally:
            kafka_cluster3.start_node(gone)
            kafka_cluster3.wait_ready()
        queue.put(both, LATER)
        assert [(one.letter, one.attempts) for one in queue.page()] == [(both[0], 3), (both[1], 2)]
    with AdminClient({"bootstrap.servers": kafka_cluster3.bootstrap}) as admin:
        for removed in admin.delete_topics(list(map(dead_letter_topic, topics))).values():
            removed.result(20)


def put_half(storage: KafkaDeadLetterStorage) -> None:
    storage.dead_letters().put([letter(offset) for offset in range(3)], NOW)


def test_a_crash_between_two_puts_costs_an_attempt_only(
    storage: KafkaDeadLetterStorage, queue: KafkaDeadLetterQueue
) -> None:
    killed_after(put_half, storage)
    queue.put([letter(offset) for offset in range(5)], LATER)
    assert [(one.letter, one.attempts) for one in queue.page()] == [
        (letter(offset), 2 if offset < 3 else 1) for offset in range(5)
    ]


@pytest.fixture
def silent() -> Iterator[KafkaOptions]:
    """A broker that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield KafkaOptions.of(f"kafka://127.0.0.1:{server.getsockname()[1]}")
        gc.collect()  # a client that a caught exception still refers to would complain of the broker's going


def test_a_broker_that_does_not_answer_is_waited_for_so_long_and_not_for_ever(silent: KafkaOptions) -> None:
    started = monotonic()
    writer = LetterWriter(silent, timeout_s=1)
    with pytest.raises(UnknownOutcomeError):
        writer.append([NewRecord("t", None, b"v", [])])
    queue = KafkaDeadLetterQueue(silent, [CLICKS.topic], "flowguard", timeout_s=1)
    with pytest.raises(TransientError):
        queue.put([letter(1)], NOW)
    with pytest.raises(TransientError):
        queue.page()
    for one in (writer, queue, writer, queue):
        one.close()
    assert monotonic() - started < 20


# -- what others put ---------------------------------------------------------------------------------------------------


def test_letters_of_kafka_connect_and_spring_are_read_marked_and_counted(
    storage: KafkaDeadLetterStorage, queue: KafkaDeadLetterQueue
) -> None:
    storage.append(CLICKS.topic, [("trace", b"1"), *CONNECT], key=None, value=b"{", timestamp_ms=NOW_MS)
    spring = dict(SPRING) | {"kafka_dlt-original-offset": b"\0\0\0\0\0\0\0\x2b"}
    storage.append(CLICKS.topic, list(spring.items()), value=None, timestamp_ms=NOW_MS + 5_000)
    connects, springs = queue.page()
    assert connects.letter == DeadLetter(
        IngestionId(CLICKS.topic, 1, 3, 42), Reason.MALFORMED,
        "org.apache.kafka.connect.errors.DataException: no JSON", None, b"{", (("trace", b"1"),), NOW_MS,
    )  # fmt: skip
    assert connects.first_seen == datetime.fromtimestamp(NOW_MS / 1000, UTC)
    assert (springs.letter.ingestion_id.offset, springs.letter.value, springs.letter.headers) == (43, b"", ())
    assert queue.mark([connects.letter.ingestion_id], State.DISCARDED, NOW) == 1
    assert queue.offsets(place(CLICKS, 3), 1) == OffsetRanges([(42, 43)])
    assert [one.state for one in storage.dead_letters().page()] == [State.DISCARDED, State.OPEN]


def test_what_is_no_dead_letter_is_passed_over_and_told_once(
    storage: KafkaDeadLetterStorage, queue: KafkaDeadLetterQueue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.put([letter(1)], NOW)
    for headers in ([], [("trace", None)], [(name, None) for name, _ in headers_of(letter(2), NOW)], [*CONNECT[1:]]):
        storage.append(CLICKS.topic, headers)
    queue.put([letter(3)], NOW)
    with caplog.at_level(logging.WARNING):
        assert offsets(queue) == [1, 3]
        storage.append(CLICKS.topic, [])
        assert offsets(queue) == [1, 3]
    (told,) = caplog.records
    assert "4 records are no letters of its topic" in told.getMessage()
    assert "the first: partition 0, offset 1" in told.getMessage()


def test_a_topic_with_more_partitions_is_read_in_all_of_them(storage: KafkaDeadLetterStorage) -> None:
    """Spring puts a letter into the partition that its record came from."""
    storage.delete(CLICKS.topic)
    storage.make(CLICKS.topic, partitions=4)
    storage.append(CLICKS.topic, CONNECT, partition=3)
    queue = storage.dead_letters()
    queue.put([letter(1)], NOW)
    assert queue.mark([one.letter.ingestion_id for one in queue.page()], State.REPLAYED, NOW) == 2
    assert [one.state for one in storage.dead_letters().page()] == [State.REPLAYED] * 2


def test_the_records_of_a_transaction_count_once_it_is_committed(
    storage: KafkaDeadLetterStorage, queue: KafkaDeadLetterQueue
) -> None:
    producer = Producer({"bootstrap.servers": storage.bootstrap, "transactional.id": "letters"})
    producer.init_transactions(20)
    for offset, end in ((1, producer.abort_transaction), (2, producer.commit_transaction)):
        producer.begin_transaction()
        headers = dict(CONNECT) | {"__connect.errors.offset": b"%d" % offset}
        producer.produce(CLICKS_DLQ, b"v", headers=list(headers.items()))
        producer.flush(10)
        assert offsets(queue) == []
        end(20)
    deadline = monotonic() + 20  # the mark is written a moment after the commit is answered
    while not offsets(queue) and monotonic() < deadline:
        pass
    assert offsets(queue) == [2]
    queue.put([letter(9)], NOW)
    assert sorted(offsets(queue)) == [2, 9]
    # 0 and 1 are the aborted one and its mark: a reader that counted records instead of offsets would go too far.
    with closing(LetterReader(storage.options, "flowguard", timeout_s=10)) as reader:
        assert [run.offsets for run in reader.read(CLICKS_DLQ, Place(0, 0), 4)] == [[2]]


# -- what befalls a topic ----------------------------------------------------------------------------------------------


def test_a_queue_sees_what_another_puts_and_marks(storage: KafkaDeadLetterStorage) -> None:
    one, another = storage.dead_letters(), storage.dead_letters()
    one.put([letter(1), letter(2)], NOW)
    assert offsets(another) == [1, 2]
    one.put([letter(3), letter(1)], LATER)
    one.mark([letter(2).ingestion_id], State.DISCARDED, LATER)
    assert [(stored.attempts, stored.state) for stored in another.page()] == [
        (2, State.OPEN), (1, State.DISCARDED), (1, State.OPEN),
    ]  # fmt: skip


def test_a_topic_that_is_made_again_begins_anew(storage: KafkaDeadLetterStorage, queue: KafkaDeadLetterQueue) -> None:
    queue.put([letter(offset) for offset in range(5)], NOW)
    assert len(queue.page()) == 5
    storage.delete(CLICKS.topic)
    storage.make(CLICKS.topic)
    # As many records as before, so that the end of the topic does not give it away.
    another = storage.dead_letters()
    another.put([letter(offset) for offset in range(10, 15)], NOW)
    assert offsets(queue) == offsets(another) == [10, 11, 12, 13, 14]
    storage.delete(CLICKS.topic)
    assert list(queue.page()) == []


def test_a_topic_is_made_again_under_a_queue_that_has_put(
    storage: KafkaDeadLetterStorage, queue: KafkaDeadLetterQueue
) -> None:
    queue.put([letter(1)], NOW)
    storage.delete(CLICKS.topic)
    storage.make(CLICKS.topic)
    deadline = monotonic() + 60
    while True:  # as the line does: what fails for now is put again
        try:
            queue.put([letter(2)], NOW)
            break
        except TransientError:
            assert monotonic() < deadline
    assert offsets(queue) == [2]


def test_letters_that_retention_removed_are_gone(storage: KafkaDeadLetterStorage, queue: KafkaDeadLetterQueue) -> None:
    queue.put([letter(offset) for offset in range(4)], NOW)
    queue.mark([letter(0).ingestion_id, letter(3).ingestion_id], State.REPLAYED, NOW)
    assert offsets(queue) == [0, 1, 2, 3]
    storage.expire(CLICKS.topic, before=2)
    for one in (queue, storage.dead_letters()):
        assert [(stored.letter.ingestion_id.offset, stored.state) for stored in one.page()] == [
            (2, State.OPEN), (3, State.REPLAYED),
        ]  # fmt: skip


def test_letters_far_apart_make_one_page(queue: KafkaDeadLetterQueue) -> None:
    queue.put([letter(offset, reason=Reason.INVALID) for offset in range(1_000)], NOW)
    queue.put([letter(offset, reason=Reason.MALFORMED) for offset in (5, 990, 300)], NOW)
    queue.put([letter(offset, reason=Reason.INVALID) for offset in range(400, 800)], NOW)
    assert [one.letter.ingestion_id.offset for one in queue.page(reason=Reason.MALFORMED)] == [5, 300, 990]
    page = queue.page(limit=600)
    assert [one.letter.ingestion_id.offset for one in page] == list(range(600))
    assert [one.attempts for one in page] == [2 if one in {5, 300} or one >= 400 else 1 for one in range(600)]
