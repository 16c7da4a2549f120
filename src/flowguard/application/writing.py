"""Carries out one Write: decode the batch, write what can land, or say which records never can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flowguard.domain.batching import Batch
from flowguard.domain.dead_letters import DeadLetter, Rejection
from flowguard.domain.decisions import Write
from flowguard.domain.decoding import BatchDecoder, Decoded
from flowguard.domain.ingestion import Claim, IngestionId, TopicPartition
from flowguard.domain.rows import Filtered, Move, Rows, SinkBatch, WriteReport
from flowguard.domain.telemetry import Happening, RecordsFiltered, RowsMerged
from flowguard.ports.clock import Clock
from flowguard.ports.sink import EventSink


@dataclass(frozen=True, slots=True)
class Landed:
    """The write ended well. `filtered` counts by event type what a rule kept out."""

    report: WriteReport
    filtered: Mapping[str, int]

    def happenings(self, seconds: float) -> Iterator[Happening]:
        """What there is to tell, of a write that took so long."""
        for stream, merged in self.report.merged.items():
            yield RowsMerged(stream, merged.inserted, merged.duplicates, seconds)
        for stream, count in self.filtered.items():
            yield RecordsFiltered(stream, count)
        yield from self.report.told


class BatchWriter:
    """Writes from one thread; another one may prepare what comes next. Decodes a batch once, however often it comes."""

    def __init__(self, decoder: BatchDecoder, sink: EventSink, clock: Clock) -> None:
        self._decoder = decoder
        self._sink = sink
        self._clock = clock
        self._decoded: dict[int, Decoded] = {}  # by number of the batch

    def prepare(self, batch: Batch, claims: Mapping[TopicPartition, Claim]) -> None:
        """Decode a batch that will be written later; meanwhile, the sink may be busy with the one before."""
        self._decode(batch, claims)

    def write(self, write: Write, claims: Mapping[TopicPartition, Claim]) -> Landed | list[Rejection]:
        """What landed, or the records that can never land (then nothing was written). Raises what the sink raises."""
        batch = write.batch
        decoded = self._decode(batch, claims)
        bad = [r for r in decoded.rejections if _wanted(batch, r.partition, r.offset)]
        if bad:
            return bad
        # A claim of epoch 0 moves no position: it only fills in what is missing (replay).
        moves = tuple(
            Move(claims[advance.partition], advance.expected, advance.next_offset)
            for advance in write.advances
            if claims[advance.partition].epoch
        )
        rows, filtered = _fitting(batch, decoded)
        report = self._sink.write(SinkBatch(rows, moves, filtered))
        for done in [number for number in list(self._decoded) if number <= batch.number]:  # others may be added
            self._decoded.pop(done, None)
        counts: dict[str, int] = {}
        for some in filtered:
            counts[some.event_type.name] = counts.get(some.event_type.name, 0) + len(some.offsets)
        return Landed(report, counts)

    def stream_of(self, topic: str) -> str:
        """The name of the topic's event type; of a topic that the catalog does not know, its own."""
        return self._decoder.stream_of(topic)

    def _decode(self, batch: Batch, claims: Mapping[TopicPartition, Claim]) -> Decoded:
        decoded = self._decoded.get(batch.number)
        if decoded is None:
            decoded = self._decoded[batch.number] = self._decoder.decode(batch, dict(claims), self._clock.now())
        return decoded


def letters_of(
    batch: Batch, rejections: tuple[Rejection, ...], claims: Mapping[TopicPartition, Claim]
) -> list[DeadLetter]:
    """Dead letters with the original bytes, from the batch that holds them."""
    wanted = {(r.partition, r.offset): r for r in rejections}
    letters = []
    for run in batch.runs:
        for index, offset in enumerate(run.offsets):
            rejection = wanted.get((run.partition, offset))
            if rejection is None:
                continue
            incarnation = claims[run.partition].incarnation
            letters.append(
                DeadLetter(
                    IngestionId(run.partition.topic, incarnation, run.partition.partition, offset),
                    rejection.reason,
                    rejection.error,
                    run.key(index),
                    run.values[index],
                    run.headers_of(index),
                    run.timestamps_ms[index],
                    rejection.event_id,
                )
            )
    return letters


def _wanted(batch: Batch, partition: TopicPartition, offset: int) -> bool:
    """Is this record still to be written? Its partition may have gone since the batch was decoded."""
    return (partition, offset) not in batch.excluded and any(run.partition == partition for run in batch.runs)


def _fitting(batch: Batch, decoded: Decoded) -> tuple[tuple[Rows, ...], tuple[Filtered, ...]]:
    """The rows less what was excluded, and less the partitions that went, since the batch was decoded."""
    left = {run.partition for run in batch.runs}
    rows = tuple(rows for rows in decoded.rows if rows.partition in left)
    filtered = tuple(some for some in decoded.filtered if some.partition in left)
    if batch.excluded:
        rows = tuple(_without(some, batch.excluded) for some in rows)
    return tuple(some for some in rows if some.values), filtered


def _without(rows: Rows, excluded: frozenset[tuple[TopicPartition, int]]) -> Rows:
    if not any((rows.partition, offset) in excluded for offset in rows.offsets):
        return rows
    kept = [index for index, offset in enumerate(rows.offsets) if (rows.partition, offset) not in excluded]
    return Rows(
        rows.event_type,
        rows.partition,
        rows.incarnation,
        [rows.offsets[index] for index in kept],
        [rows.values[index] for index in kept],
    )
