"""Log and sink as people's commands see them while the pipeline runs: nothing stands still between two answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowguard.adapters.memory import MemoryEventLog, MemoryLedger
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.catalog import EventType
from flowguard.domain.ingestion import RecordRun, TopicPartition
from flowguard.ports.event_log import TopicDescription
from flowguard.ports.ledger import LandedOffsets, SinkPosition

if TYPE_CHECKING:
    from tests.simulation.world import World


class SlowLog(MemoryEventLog):
    """While it answers, the world goes on."""

    def __init__(self, world: World) -> None:
        super().__init__(world.log, read_bytes=1_000)
        self.world = world

    def describe(self, topic: str, group: str) -> TopicDescription | None:
        found = super().describe(topic, group)
        self.world.goes_on()
        return found

    def read(self, partition: TopicPartition, first: int, last: int) -> Sequence[RecordRun]:
        found = super().read(partition, first, last)
        self.world.goes_on()
        return found

    def logged(self, partition: TopicPartition) -> OffsetRanges:
        found = super().logged(partition)
        self.world.goes_on()
        return found


class SlowLedger(MemoryLedger):
    """While it answers, the world goes on."""

    def __init__(self, world: World) -> None:
        super().__init__(world.warehouse)
        self.world = world

    def positions(self) -> Sequence[SinkPosition]:
        found = super().positions()
        self.world.goes_on()
        return found

    def offsets(self, event_type: EventType, partition: TopicPartition, incarnation: int) -> LandedOffsets:
        found = super().offsets(event_type, partition, incarnation)
        self.world.goes_on()
        return found
