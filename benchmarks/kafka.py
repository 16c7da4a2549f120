"""Real Kafka, one broker on this machine: publishing and reading, beside bare loops of the same client."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random
from time import perf_counter

from confluent_kafka import Consumer, KafkaError, Message, Producer

from benchmarks.clicks import records
from benchmarks.core import CATALOG, CLICKS, Untouched
from benchmarks.report import Line, median_rate, seconds
from flowguard.adapters.kafka import (
    KafkaEventLog,
    KafkaEventPublisher,
    KafkaEventSource,
    KafkaOptions,
)
from flowguard.adapters.kafka.health import ClientHealth
from flowguard.adapters.kafka.source_config import consumer_config
from flowguard.adapters.memory import MemoryDeadLetterQueue, MemoryEventSink, MemoryLedger, MemoryWarehouse
from flowguard.adapters.system import RecordingTelemetry, SystemClock
from flowguard.application.ingest import Ingestion
from flowguard.application.ingest_ports import IngestPorts, Pace
from flowguard.application.worker import ThreadWorker
from flowguard.application.writing import BatchWriter
from flowguard.domain.batching import BatchPolicy, FlowPolicy
from flowguard.domain.dead_letters import DeadLetterPolicy
from flowguard.domain.decoding import BatchDecoder
from flowguard.domain.errors import RetryPolicy
from flowguard.domain.ingestion import Assignment, TopicPartition
from flowguard.domain.ingestor import Ingestor
from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.kafka import KafkaCluster
from flowguard.entrypoints.tuning import tune_interpreter
from flowguard.ports.publisher import NewRecord
from flowguard.ports.source import RebalanceListener
from flowguard.settings import Settings

_REQUEST = 500
_AT_ONCE = 8
_PARTITIONS = CLICKS.partitions
_LINGER_S = 5.0
_READ_TIMES = 4
"""What is read is so many times what is published in one run."""
_COMMIT_S = 1.0  # as `flowguard consume` has it
_groups = count(1)
_READS = (Message.value, Message.offset, Message.partition)
_PLAIN = "`consume(500)` loop that counts, as the client comes"
_BEST = "`consume(10_000)` loop that counts, same options"


@contextmanager
def broker() -> Iterator[KafkaOptions]:
    """A cluster of one, for as long as this is entered."""
    with (
        tempfile.TemporaryDirectory() as folder,
        KafkaCluster(Path(folder)) as cluster,
        ending_with_this_process(KafkaCluster, Path(folder)),
    ):
        cluster.start()
        yield KafkaOptions.of(cluster.url)


def make_topic(options: KafkaOptions) -> None:
    log = KafkaEventLog(options)
    log.ensure({CLICKS.topic: _PARTITIONS})
    log.close()


def _new_records(events: int) -> list[NewRecord]:
    return [NewRecord(b"session_%d" % (number // 20), value) for number, value in enumerate(records(events))]


def _publish(options: KafkaOptions, requests: Sequence[Sequence[NewRecord]]) -> float:
    """Events a second, until every record has its receipt."""

    async def client(publisher: KafkaEventPublisher, mine: Sequence[Sequence[NewRecord]]) -> int:
        places = 0
        for request in mine:
            places += len((await publisher.publish(CLICKS.topic, request)).places)
        return places

    async def work() -> float:
        publisher = KafkaEventPublisher(options)
        await publisher.publish(CLICKS.topic, requests[0])  # connected
        started = perf_counter()
        places = await asyncio.gather(*(client(publisher, requests[one::_AT_ONCE]) for one in range(_AT_ONCE)))
        took = perf_counter() - started
        await publisher.close()
        return sum(places) / took

    gc.collect()
    return asyncio.run(work())


def _raw_producer(options: KafkaOptions, new: Sequence[NewRecord], *, warm_up: bool = True) -> float:
    """`produce` and `poll` in a loop, with a callback that keeps partition and offset of each record."""
    producer = Producer(options.producer(ClientHealth(), owned={"queue.buffering.max.messages": 1_000_000}))
    places: list[tuple[int | None, int | None]] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        places.append((message.partition(), message.offset()))

    def work(some: Sequence[NewRecord]) -> None:
        for key, value, _ in some:
            producer.produce(CLICKS.topic, value, key, on_delivery=delivered)
            producer.poll(0)
        producer.flush()

    if warm_up:
        work(new[:_REQUEST])  # connected
    places.clear()
    gc.collect()
    took = seconds(lambda: work(new))
    assert len(places) == len(new)
    return len(new) / took


def _consume(options: KafkaOptions, decoder: BatchDecoder, events: int) -> float:
    """Records a second from the first one read until all are in the memory sink."""
    warehouse = MemoryWarehouse()
    sink, clock, settings = MemoryEventSink(warehouse), SystemClock(), Settings()
    source = KafkaEventSource(options, f"bench-{next(_groups)}", (CLICKS.topic,), fetch_bytes=settings.fetch_bytes)
    ports = IngestPorts(
        source, sink, MemoryDeadLetterQueue(), clock, RecordingTelemetry(), ThreadWorker("bench-writer")
    )
    machine = Ingestor(BatchPolicy(), RetryPolicy(), DeadLetterPolicy(), FlowPolicy(), Random(1).random)
    pace = Pace(commit_s=_COMMIT_S)
    ingestion = Ingestion(
        ports, BatchWriter(decoder, sink, clock), machine,
        owner="bench", retry=RetryPolicy(), jitter=Random(1).random, pace=pace,
    )  # fmt: skip
    ledger = MemoryLedger(warehouse)

    def done() -> bool:
        # Positions are asked for at the end only: the ledger waits for the sink, and the polling thread with it.
        return machine.idle and sum(one.next_offset or 0 for one in ledger.positions()) == events

    gc.collect()
    while machine.idle:
        ingestion.step()
    took = seconds(lambda: _until(done, ingestion))
    ingestion.close()
    assert ledger.summary(CLICKS).rows == events, "not every record landed"
    return events / took


class _Resumes(RebalanceListener):
    """Reads all that it is given, from the beginning."""

    def __init__(self, source: KafkaEventSource) -> None:
        self._source = source

    def on_assigned(self, assignments: Sequence[Assignment]) -> None:
        self._source.resume({one.partition: 0 for one in assignments})

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        pass

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        pass

    def on_gap(self, partition: TopicPartition, first: int, last: int) -> None:
        raise AssertionError(f"{partition} {first} to {last} are gone")


def _read(options: KafkaOptions, events: int) -> float:
    """Records a second that the source hands out, nobody doing anything with them."""
    source = KafkaEventSource(options, f"bench-{next(_groups)}", (CLICKS.topic,), fetch_bytes=Settings().fetch_bytes)
    listener = _Resumes(source)
    read = 0
    while not read:
        read = sum(map(len, source.poll(0.1, listener)))
    started = perf_counter()
    while read < events:
        read += sum(map(len, source.poll(0.1, listener)))
    took = perf_counter() - started
    source.close()
    return events / took


def _until(done: object, ingestion: Ingestion) -> None:
    assert callable(done)
    while not done():
        ingestion.step()


def _raw_consumer(
    config: dict[str, object], at_once: int, events: int, columns: Sequence[Callable[[Message], object]] = ()
) -> float:
    """`consume` in a loop that counts, and makes a list of each of these columns."""
    consumer = Consumer(config | {"group.id": f"bench-{next(_groups)}", "auto.offset.reset": "earliest"})
    consumer.subscribe([CLICKS.topic])

    def work() -> int:
        messages = consumer.consume(at_once, 0.1)
        for column in columns:
            list(map(column, messages))
        return len(messages)

    read = 0
    while not read:
        read = work()
    started = perf_counter()
    while read < events:
        read += work()
    took = perf_counter() - started
    consumer.close()
    return events / took


def run(events: int, runs: int) -> list[Line]:
    """Publishing with receipts; reading into memory, untouched and decoded."""
    tune_interpreter()
    new = _new_records(events)
    requests = [new[first : first + _REQUEST] for first in range(0, len(new), _REQUEST)]
    with broker() as options:
        make_topic(options)
        raw = median_rate(lambda: _raw_producer(options, new), runs)
        published = median_rate(lambda: _publish(options, requests), runs)
    # Read from a topic of its own, in which each event is once: the one above has them again with each run.
    held = _READ_TIMES * events
    with broker() as options:
        make_topic(options)
        _raw_producer(options, _new_records(held), warm_up=False)
        plain = options.consumer("", ClientHealth())
        tuned = dict(consumer_config(options, "", ClientHealth(), Settings().fetch_bytes))
        bare = median_rate(lambda: _raw_consumer(plain, _REQUEST, held), runs)
        best = median_rate(lambda: _raw_consumer(tuned, 10_000, held), runs)
        touching = median_rate(lambda: _raw_consumer(tuned, 10_000, held, _READS), runs)
        counted = median_rate(lambda: _read(options, held), runs)
        untouched = median_rate(lambda: _consume(options, Untouched(CATALOG), held), runs)
        decoded = median_rate(lambda: _consume(options, BatchDecoder(CATALOG), held), runs)
    return [
        Line(
            "HTTP side: publish to Kafka with receipts, requests of 500",
            "records/s", published, "`produce` loop with delivery callbacks", raw, 0.8 * raw,
        ),
        Line("Kafka → memory sink, payloads untouched", "records/s", untouched, _PLAIN, bare, 0.7 * bare),
        Line("... beside the fastest loop that there is", "records/s", untouched, _BEST, best, 0.7 * best),
        Line("Kafka → memory sink, decoded and validated", "events/s", decoded, _BEST, best),
        Line("the bare loop, reading value, offset and partition of each", "records/s", touching, _BEST, best),
        Line("KafkaEventSource alone", "records/s", counted, _BEST, best),
    ]  # fmt: skip
