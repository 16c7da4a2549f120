"""From one log into another one: the gateway's spool to Kafka, an embedded log to the real one."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from flowguard.application.attempts import Attempts
from flowguard.application.ingest_ports import Pace
from flowguard.application.worker import Outcome, Worker
from flowguard.domain.batching import Batch, BatchPolicy, FlowPolicy
from flowguard.domain.buffer import Buffer
from flowguard.domain.errors import RetryPolicy, TransientError
from flowguard.domain.ingestion import (
    INGESTION_ID_HEADER,
    Assignment,
    Position,
    RecordRun,
    TopicPartition,
)
from flowguard.domain.telemetry import OffsetsGone, PartitionsAssigned, PartitionsGone, PositionsCommitted
from flowguard.ports.clock import Clock
from flowguard.ports.event_log import EventLog
from flowguard.ports.publisher import EventPublisher, NewRecord
from flowguard.ports.source import EventSource, RebalanceListener
from flowguard.ports.telemetry import Telemetry

_TOGETHER = BatchPolicy(max_records=2_000, max_bytes=1024 * 1024, max_age_s=0.0)
"""What is published at once: enough to share a flush, and no more than any publisher's queue holds."""


@dataclass(frozen=True, slots=True)
class ForwardPorts:
    """What a Forward needs of the world: where it reads, where it publishes. It closes both, and the worker."""

    source: EventSource
    publisher: EventPublisher
    clock: Clock
    telemetry: Telemetry
    worker: Worker


class Forward(RebalanceListener):
    """Publishes all that the source reads to the same topic of another log, in order, with keys and headers.

    At the origin an offset is committed only after the other log's receipt. What cannot be published is held, and tried
    again for as long as it takes. A crash between receipt and commit means that some records are forwarded twice: the
    sink takes them for the one event that they are, by producer service and event id.

    An ingestion id names a place in one log. The other log gives each record its own, and would sooner or later give
    one that a record brought along to another event, which the sink would then skip: so the header of a dead letter
    that was put back at the origin (`fg-ingestion-id`) is left behind.

    One thread polls the source, so that the group does not take us for gone while the other log is away; the worker
    publishes. `jitter` gives uniform floats in [0, 1].
    """

    def __init__(
        self,
        ports: ForwardPorts,
        *,
        retry: RetryPolicy,
        jitter: Callable[[], float],
        flow: FlowPolicy | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._ports = ports
        self._attempts = Attempts(retry, jitter, ports.clock, ports.telemetry)
        self._flow = flow or FlowPolicy()
        self._pace = pace or Pace()
        self._loop = asyncio.Runner()  # the publisher's own; used in the worker's thread only
        self._owned: set[TopicPartition] = set()
        self._fresh: set[TopicPartition] = set()  # assigned, and not resumed yet
        self._held = Buffer(_TOGETHER)
        self._waiting: deque[Batch] = deque()  # of one topic each, so that what one topic took is not sent again
        self._sending: Batch | None = None
        self._uncommitted: dict[TopicPartition, int] = {}
        self._paused = False
        self._broken: Exception | None = None  # what no waiting mends; raised by the next step, never inside of poll
        self._leave_by: float | None = None
        self.forwarded: Counter[str] = Counter()
        """Records by topic, as the other log has confirmed them."""

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event, *, finished: Callable[[], bool] | None = None) -> None:
        """Until `stop` is set, or `finished` says so, which is asked whenever all that was read is committed.

        What is being published then ends and is committed, within the pace's `drain_s`. Raises ConfigurationError.
        """
        try:
            while not stop.is_set() and not (finished is not None and self._idle and self._told(finished)):
                self._step()
            self._drain()
            self._raise_if_broken()
        finally:
            self._close()

    @property
    def _idle(self) -> bool:
        return not (self._held or self._waiting or self._sending or self._uncommitted)

    def _told(self, finished: Callable[[], bool]) -> bool:
        try:
            return finished()
        except TransientError as error:
            self._attempts.failed("read", error)
            return False

    def _step(self) -> None:
        self._collect(0.0)
        self._raise_if_broken()
        self._send()
        self._commit()
        if self._ports.worker.pending:
            self._collect(self._pace.busy_s)
            self._read(0.0)
        else:
            self._read(self._pause_s())
        self._regulate()

    def _pause_s(self) -> float:
        """Seconds that reading may wait."""
        due = [self._attempts.due_at(what) for what in ("publish", "commit", "read")]
        return max(0.0, min([self._pace.idle_s, *(at - self._now() for at in due if at is not None)]))

    def _raise_if_broken(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _drain(self) -> None:
        self._leave_by = self._now() + self._pace.drain_s
        self._ports.source.pause(self._owned)
        self._wait_for(self._owned)
        self._commit(force=True)

    def _close(self) -> None:
        self._ports.source.close()
        self._ports.worker.submit(self._let_go)
        self._ports.worker.close()
        deadline = self._leave_by or self._now() + self._pace.drain_s
        while self._ports.worker.pending and self._now() < deadline:
            self._ports.worker.take(self._pace.idle_s)

    def _let_go(self) -> Outcome:
        with self._loop as loop:
            loop.run(self._ports.publisher.close())
        return lambda: None

    # -- rebalances (called from inside poll) ------------------------------------------------------------------------

    def on_assigned(self, assignments: Sequence[Assignment]) -> None:
        places = [one.partition for one in assignments]
        self._forget(places)  # where one comes anew without having gone
        self._owned.update(places)
        self._fresh.update(places)
        # The group's own offset is the truth here: nobody else knows how far the other log was given its records.
        self._ports.telemetry.emit(PartitionsAssigned(tuple((place, None) for place in places)))

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self._wait_for(partitions)
        self._commit(force=True)
        self._gone(partitions, "revoked")

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        self._gone(partitions, "lost")

    def on_gap(self, partition: TopicPartition, first: int, last: int) -> None:
        self._ports.telemetry.emit(OffsetsGone(partition, first, last))

    def _gone(self, partitions: Sequence[TopicPartition], how: str) -> None:
        self._forget(partitions)
        self._ports.telemetry.emit(PartitionsGone(tuple(partitions), how))

    def _forget(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing of these is published (again) or committed any more; who has them now reads it anew."""
        self._owned.difference_update(partitions)
        self._fresh.difference_update(partitions)
        self._held.drop(partitions)
        self._waiting = deque(left for one in self._waiting if (left := one.without_partitions(partitions)).runs)
        if self._sending is not None:
            self._sending = self._sending.without_partitions(partitions)
        for place in partitions:
            self._uncommitted.pop(place, None)

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read(self, wait: float) -> None:
        if not self._attempts.due("read"):
            self._collect(wait)
            return
        try:
            runs = self._ports.source.poll(wait, self)
        except TransientError as error:
            self._attempts.failed("read", error)
            return
        if runs or self._attempts.calm("read"):  # a log that is away may well answer with nothing
            self._attempts.succeeded("read")
        for run in runs:
            self._held.add(run, 0.0)

    def _regulate(self) -> None:
        """Resume what is new; pause all while too much is held, with a gap so that it does not flap."""
        held = self._held.size_bytes + sum(one.size_bytes for one in (*self._waiting, self._sending) if one is not None)
        if not self._paused and held >= self._flow.high_bytes:
            self._paused = True
            self._ports.source.pause(self._owned)
        elif self._paused and held <= self._flow.low_bytes:
            self._paused = False
            self._fresh = set(self._owned)
        if self._fresh and not self._paused:
            self._ports.source.resume(dict.fromkeys(self._fresh))
            self._fresh.clear()

    # -- publishing --------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        if self._ports.worker.pending or not self._attempts.due("publish"):
            return
        if self._held and not self._waiting:
            self._waiting.extend(_by_topic(self._held.compose(0)))
        if not self._sending and self._waiting:  # nothing, or all of it was lost before it could be published
            self._sending = self._waiting.popleft()
        if self._sending:
            self._ports.worker.submit(partial(self._publish, self._sending))

    def _publish(self, batch: Batch) -> Outcome:
        """On the worker."""
        topic = batch.runs[0].partition.topic
        records = [record for run in batch.runs for record in _records(run)]
        try:
            self._loop.run(self._ports.publisher.publish(topic, records))
        except Exception as error:  # noqa: BLE001  # told to the polling thread
            return partial(self._failed, error)
        return partial(self._published, topic, len(records))

    def _published(self, topic: str, count: int) -> None:
        self._attempts.succeeded("publish")
        self.forwarded[topic] += count
        batch, self._sending = self._sending, None
        if batch is not None:  # without what was lost meanwhile
            self._uncommitted.update(batch.positions)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, TransientError):
            self._attempts.failed("publish", error)
        else:
            self._broken = error

    def _collect(self, timeout_s: float) -> None:
        """Take outcomes, waiting for one; with nothing under way it waits all the same, so that no loop runs hot."""
        outcome = self._ports.worker.take(timeout_s)
        while outcome is not None:
            outcome()
            outcome = self._ports.worker.take(0.0)

    def _wait_for(self, partitions: Collection[TopicPartition]) -> None:
        """Until what is being published of these has its receipt, within `drain_s`."""
        deadline = self._now() + self._pace.drain_s
        while self._ports.worker.pending and self._touches(partitions) and (left := deadline - self._now()) > 0:
            self._collect(min(self._pace.busy_s, left))

    def _touches(self, partitions: Collection[TopicPartition]) -> bool:
        return self._sending is not None and any(run.partition in partitions for run in self._sending.runs)

    def _commit(self, *, force: bool = False) -> None:
        if not self._uncommitted or not (force or self._attempts.due("commit")):
            return
        positions = tuple(Position(place, offset) for place, offset in self._uncommitted.items())
        try:
            self._ports.source.commit(positions)
        except TransientError as error:
            self._attempts.failed("commit", error)
            return
        self._uncommitted.clear()
        self._attempts.succeeded("commit")
        self._ports.telemetry.emit(PositionsCommitted(positions))

    def _now(self) -> float:
        return self._ports.clock.monotonic()


def nothing_left(log: EventLog, topics: Iterable[str], group: str) -> bool:
    """Say whether the group has committed every record of these topics that the log holds. Raises TransientError."""
    for topic in topics:
        described = log.describe(topic, group)
        for span in () if described is None else described.spans:
            first = max(span.earliest, span.committed or 0)
            # Offsets need not hold records (transactions): only reading tells.
            if first < span.next_offset and log.read(span.partition, first, span.next_offset - 1):
                return False
    return True


def _by_topic(batch: Batch) -> list[Batch]:
    runs: dict[str, list[RecordRun]] = {}
    for run in batch.runs:
        runs.setdefault(run.partition.topic, []).append(run)
    return [Batch(batch.number, tuple(some)) for some in runs.values()]


def _records(run: RecordRun) -> list[NewRecord]:
    if run.headers is None:
        return [NewRecord(run.key(index), value) for index, value in enumerate(run.values)]
    return [
        NewRecord(run.key(index), value, tuple(one for one in run.headers[index] if one[0] != INGESTION_ID_HEADER))
        for index, value in enumerate(run.values)
    ]
