"""What the parts of the sink's contract share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from flowguard.domain.audit import OffsetRanges
from flowguard.domain.ingestion import Assignment, Claim, TopicPartition
from flowguard.domain.rows import Merged, Move, Rows, SinkBatch
from flowguard.ports.ledger import Ledger, SinkPosition
from flowguard.ports.sink import EventSink
from tests.builders import CLICKS, place
from tests.contracts.storage import SinkStorage

FIRST = "first-making-of-the-topic"
SECOND = "second-making-of-the-topic"
HERE = place(CLICKS, 0)
THERE = place(CLICKS, 1)


class SinkCase:
    """Fixtures: a sink and a ledger on one storage."""

    adapter: ClassVar[type[EventSink]]

    @pytest.fixture
    def storage(self) -> SinkStorage:
        raise NotImplementedError("the subclass makes a fresh storage")

    @pytest.fixture
    def sink(self, storage: SinkStorage) -> Iterator[EventSink]:
        sink = storage.sink()
        assert isinstance(sink, self.adapter)
        yield sink
        sink.close()

    @pytest.fixture
    def ledger(self, storage: SinkStorage) -> Ledger:
        return storage.ledger()


def claim(sink: EventSink, partition: TopicPartition = HERE, topic_id: str = FIRST, owner: str = "consumer-1") -> Claim:
    (claimed,) = sink.claim(owner, [Assignment(partition, topic_id)])
    return claimed


def batch(*rows: Rows, moves: tuple[Move, ...] = ()) -> SinkBatch:
    return SinkBatch(rows, moves)


def land(sink: EventSink, rows: Rows, claimed: Claim, expected: int | None = None) -> Merged:
    """Write rows that end at the position that they move to."""
    report = sink.write(batch(rows, moves=(Move(claimed, expected, rows.offsets[-1] + 1),)))
    return report.merged[rows.event_type.name]


def position(ledger: Ledger, partition: TopicPartition = HERE, incarnation: int = 1) -> SinkPosition:
    (found,) = [one for one in ledger.positions() if (one.partition, one.incarnation) == (partition, incarnation)]
    return found


def ranges(*runs: tuple[int, int]) -> OffsetRanges:
    return OffsetRanges(runs)
