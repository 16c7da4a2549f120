"""The machine and its shell alone: memory log to memory sink, with payloads untouched, and with decoding."""

from __future__ import annotations

import asyncio
import gc
import json
from datetime import UTC, datetime
from random import Random
from time import monotonic

from pydantic import TypeAdapter

from benchmarks.clicks import records
from benchmarks.report import Line, median_rate, seconds
from flowguard.adapters.memory import (
    MemoryDeadLetterQueue,
    MemoryEventLog,
    MemoryEventPublisher,
    MemoryEventSink,
    MemoryEventSource,
    MemoryLedger,
    MemoryLog,
    MemoryWarehouse,
)
from flowguard.adapters.system import RecordingTelemetry, SystemClock
from flowguard.application.ingest import Ingestion
from flowguard.application.ingest_ports import IngestPorts
from flowguard.application.worker import ThreadWorker
from flowguard.application.writing import BatchWriter
from flowguard.domain.batching import Batch, BatchPolicy, FlowPolicy
from flowguard.domain.catalog import BUILT_IN, Catalog
from flowguard.domain.dead_letters import DeadLetterPolicy
from flowguard.domain.decoding import BatchDecoder, Decoded
from flowguard.domain.errors import RetryPolicy
from flowguard.domain.events import Click
from flowguard.domain.ingestion import Claim, TopicPartition, ingestion_id_prefix
from flowguard.domain.ingestor import Ingestor
from flowguard.domain.payload import decode_many
from flowguard.domain.rows import Rows
from flowguard.entrypoints.tuning import tune_interpreter
from flowguard.ports.publisher import NewRecord

CATALOG = Catalog(BUILT_IN)
CLICKS = BUILT_IN[0]
_TIME = datetime(2026, 11, 22, tzinfo=UTC)


class Untouched(BatchDecoder):
    """Makes rows without looking into the values, so that what is measured is the machine, the shell and the ports."""

    def decode(self, batch: Batch, claims: dict[TopicPartition, Claim], ingested_at: datetime) -> Decoded:
        del claims
        decoded = Decoded()
        for run in batch.runs:
            topic, partition = run.partition
            prefix = ingestion_id_prefix(topic, 1, partition)
            ids = [f"{prefix}{offset}" for offset in run.offsets]
            values = [
                (id_, "clicks", 1, topic, 1, partition, offset, "", id_, None, _TIME, ingested_at, value)
                for id_, offset, value in zip(ids, run.offsets, run.values, strict=True)
            ]
            decoded.rows.append(Rows(CLICKS, run.partition, 1, list(run.offsets), values))
        return decoded


def _filled(values: list[bytes]) -> MemoryLog:
    log = MemoryLog()
    log.ensure({CLICKS.topic: 1})
    publisher = MemoryEventPublisher(log)

    async def fill() -> None:
        for first in range(0, len(values), 500):
            await publisher.publish(CLICKS.topic, [NewRecord(None, value) for value in values[first : first + 500]])

    asyncio.run(fill())
    return log


def _rate(log: MemoryLog, decoder: BatchDecoder, events: int) -> float:
    warehouse = MemoryWarehouse()
    sink, clock = MemoryEventSink(warehouse), SystemClock()
    ports = IngestPorts(
        MemoryEventSource(log, f"bench-{monotonic()}", [CLICKS.topic]),
        sink,
        MemoryDeadLetterQueue(),
        clock,
        RecordingTelemetry(),
        ThreadWorker("bench-writer"),
    )
    machine = Ingestor(BatchPolicy(), RetryPolicy(), DeadLetterPolicy(), FlowPolicy(), Random(1).random)
    ingestion = Ingestion(
        ports, BatchWriter(decoder, sink, clock), machine, owner="bench", retry=RetryPolicy(), jitter=Random(1).random
    )
    ledger = MemoryLedger(warehouse)

    def ingest() -> None:
        while not any(one.next_offset == events for one in ledger.positions()):
            ingestion.step()

    gc.collect()
    took = seconds(ingest)
    ingestion.close()
    assert ledger.summary(CLICKS).rows == events, "not every record landed"
    return events / took


def _raw_loop(log: MemoryLog, events: int) -> float:
    """What reading and keeping costs at best: the same bytes into a list of tuples."""
    reader = MemoryEventLog(log)
    place = TopicPartition(CLICKS.topic, 0)
    kept: list[tuple[int, bytes]] = []

    def read() -> None:
        at = 0
        while at < events:
            for run in reader.read(place, at, events):
                kept.extend(zip(run.offsets, run.values, strict=True))
                at = run.next_offset

    return events / seconds(read)


def _raw_validation(values: list[bytes]) -> float:
    """Parsing and validating alone: the same JSON and the same model, in the largest calls there are."""
    many = TypeAdapter(list[Click])
    payloads = [json.dumps(json.loads(value)["data"]).encode() for value in values]

    def validate() -> None:
        for first in range(0, len(payloads), 5_000):
            many.validate_python(decode_many(payloads[first : first + 5_000]))

    return len(values) / seconds(validate)


def run(events: int, runs: int) -> list[Line]:
    """Two lines: untouched, and decoded and validated."""
    values = records(events)
    log = _filled(values)
    tune_interpreter()  # as `flowguard consume` does, for the raw limits too
    return [
        Line(
            "memory log → memory sink, payloads untouched",
            "records/s",
            median_rate(lambda: _rate(log, Untouched(CATALOG), events), runs),
            "log read into a list",
            median_rate(lambda: _raw_loop(log, events), runs),
            400_000,
        ),
        Line(
            "memory log → memory sink, decoded and validated",
            "events/s",
            median_rate(lambda: _rate(log, BatchDecoder(CATALOG), events), runs),
            "payload parsed and validated only",
            median_rate(lambda: _raw_validation(values), runs),
            150_000,
        ),
    ]
