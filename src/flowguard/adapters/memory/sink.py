"""Landing rows in memory."""

from __future__ import annotations

from collections.abc import Sequence

from flowguard.adapters.memory.warehouse import MemoryWarehouse, Stored
from flowguard.domain.errors import FencedError, PermanentError, TransientError
from flowguard.domain.ingestion import Assignment, Claim, TopicPartition
from flowguard.domain.rows import Merged, Move, SinkBatch, WriteReport
from flowguard.ports.sink import EventSink


class MemoryEventSink(EventSink):
    """Writes to a MemoryWarehouse."""

    def __init__(self, warehouse: MemoryWarehouse) -> None:
        self._warehouse = warehouse
        self._closed = False

    def claim(self, owner: str, assignments: Sequence[Assignment]) -> Sequence[Claim]:
        self.check()
        with self._warehouse.lock:
            return [self._claim(owner, partition, topic_id) for partition, topic_id in assignments]

    def _claim(self, owner: str, partition: TopicPartition, topic_id: str) -> Claim:
        incarnation = self._warehouse.incarnation(partition.topic, topic_id)
        stored = self._warehouse.positions.setdefault((partition, incarnation), Stored(topic_id))
        stored.epoch += 1
        stored.owner = owner
        return Claim(partition, incarnation, stored.epoch, stored.next_offset)

    def write(self, batch: SinkBatch) -> WriteReport:
        self.check()
        with self._warehouse.lock:
            self._refuse(batch)
            # Nothing below this line can fail: all of the batch lands.
            merged: dict[str, Merged] = {}
            for rows in batch.rows:
                done = self._warehouse.table(rows.event_type).merge(rows)
                before = merged.get(rows.event_type.name, Merged(0, 0))
                merged[rows.event_type.name] = Merged(
                    before.inserted + done.inserted, before.duplicates + done.duplicates
                )
            for one in batch.filtered:
                account = self._warehouse.table(one.event_type).account(one.partition, one.incarnation)
                account.filtered.add(one.offsets)
            for move in batch.moves:
                stored = self._warehouse.positions[move.claim.partition, move.claim.incarnation]
                stored.next_offset = max(stored.next_offset or 0, move.next_offset)
            return WriteReport(merged)

    def _refuse(self, batch: SinkBatch) -> None:
        fenced = [move.claim.partition for move in batch.moves if self._is_fenced(move)]
        if fenced:
            raise FencedError(fenced)
        faults = [fault for rows in batch.rows for fault in self._warehouse.table(rows.event_type).refusals(rows)]
        if faults:
            raise PermanentError(f"{faults[0].error} ({len(faults)} such in the batch)", faults)

    def _is_fenced(self, move: Move) -> bool:
        """Somebody else claimed it since, or the sink stands behind where this writer left it."""
        stored = self._warehouse.positions.get((move.claim.partition, move.claim.incarnation))
        if stored is None or stored.epoch != move.claim.epoch:
            return True
        return move.expected is not None and (stored.next_offset is None or stored.next_offset < move.expected)

    def check(self) -> None:
        if self._closed:
            raise TransientError("this sink is closed: make another one")

    def close(self) -> None:
        self._closed = True
