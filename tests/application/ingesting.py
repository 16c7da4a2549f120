"""The real ingestion on its real threads, between memory adapters that can be made to fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from flowguard.adapters.memory import (
    MemoryDeadLetterQueue,
    MemoryEventLog,
    MemoryEventSink,
    MemoryEventSource,
    MemoryLedger,
    MemoryLog,
    MemoryWarehouse,
)
from flowguard.adapters.system import RecordingTelemetry, SystemClock
from flowguard.application.ingest import Ingestion
from flowguard.application.ingest_ports import IngestPorts, Pace
from flowguard.application.worker import ThreadWorker
from flowguard.application.writing import BatchWriter
from flowguard.domain.audit import PartitionAccount, StreamAudit, audit
from flowguard.domain.batching import BatchPolicy, FlowPolicy
from flowguard.domain.catalog import EventType
from flowguard.domain.dead_letters import DeadLetter, DeadLetterPolicy
from flowguard.domain.decoding import BatchDecoder
from flowguard.domain.errors import RetryPolicy
from flowguard.domain.ingestion import Assignment, Claim, Headers, Position, RecordRun, TopicPartition
from flowguard.domain.ingestor import Ingestor
from flowguard.domain.rows import SinkBatch, WriteReport
from flowguard.domain.telemetry import Happening
from flowguard.ports.publisher import NewRecord
from flowguard.ports.source import EventSource, RebalanceListener
from tests.builders import CATALOG, CLICKS, event, place

DEADLINE_S = 30.0
GROUP = "flowguard"
PACE = Pace(idle_s=0.02, busy_s=0.005, drain_s=DEADLINE_S)
RETRY = RetryPolicy(initial_s=0.001, cap_s=0.01)


class Happenings(RecordingTelemetry):
    """What happened, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def emit(self, happening: Happening) -> None:
        with self.changed:
            super().emit(happening)
            self.changed.notify_all()


class ScriptedSink(MemoryEventSink):
    """A sink to which something happens before, or after, it writes or claims."""

    def __init__(self, warehouse: MemoryWarehouse) -> None:
        super().__init__(warehouse)
        self.before_write: Callable[[SinkBatch], None] = lambda batch: None
        self.after_write: Callable[[SinkBatch], None] = lambda batch: None
        self.before_claim: Callable[[], None] = lambda: None
        self.written: list[SinkBatch] = []

    def claim(self, owner: str, assignments: Sequence[Assignment]) -> Sequence[Claim]:
        self.before_claim()
        return super().claim(owner, assignments)

    def write(self, batch: SinkBatch) -> WriteReport:
        self.before_write(batch)
        report = super().write(batch)
        self.written.append(batch)
        self.after_write(batch)
        return report


class ScriptedQueue(MemoryDeadLetterQueue):
    """A dead-letter queue to which something happens before it puts."""

    def __init__(self) -> None:
        super().__init__()
        self.before_put: Callable[[], None] = lambda: None

    def put(self, letters: Sequence[DeadLetter], now: datetime) -> None:
        self.before_put()
        super().put(letters, now)


class ScriptedSource(EventSource):
    """A source to which something happens before it polls or commits."""

    def __init__(self, inner: MemoryEventSource, changed: threading.Condition) -> None:
        self.inner = inner
        self.changed = changed
        self.polls = 0
        self.records = 0
        self.closed = False
        self.before_poll: Callable[[], None] = lambda: None
        self.before_commit: Callable[[], None] = lambda: None

    def poll(self, timeout_s: float, listener: RebalanceListener) -> Sequence[RecordRun]:
        self.before_poll()
        runs = self.inner.poll(timeout_s, listener)
        with self.changed:
            self.polls += 1
            self.records += sum(map(len, runs))
            self.changed.notify_all()
        return runs

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self.inner.pause(partitions)

    def resume(self, starts: Mapping[TopicPartition, int | None]) -> None:
        self.inner.resume(starts)

    def commit(self, positions: Iterable[Position]) -> None:
        self.before_commit()
        self.inner.commit(positions)

    def close(self) -> None:
        self.closed = True
        self.inner.close()


@dataclass
class Policies:
    batch: BatchPolicy = field(default_factory=lambda: BatchPolicy(max_records=10, max_age_s=0.0))
    dead_letters: DeadLetterPolicy = field(default_factory=DeadLetterPolicy)
    flow: FlowPolicy = field(default_factory=FlowPolicy)
    pace: Pace = PACE
    trusts_group: bool = False


class Member:
    """One consumer of the group, on threads of its own."""

    def __init__(self, rig: Rig, policies: Policies) -> None:
        self.happenings = Happenings()
        self.sink = ScriptedSink(rig.warehouse)
        self.source = ScriptedSource(
            MemoryEventSource(rig.log, GROUP, [one.topic for one in CATALOG], fetch_bytes=2_000),
            self.happenings.changed,
        )
        self.worker = ThreadWorker("writer")
        self.error: BaseException | None = None
        clock = SystemClock()
        self.ingestion = Ingestion(
            IngestPorts(self.source, self.sink, rig.queue, clock, self.happenings, self.worker),
            BatchWriter(BatchDecoder(CATALOG), self.sink, clock),
            Ingestor(policies.batch, RETRY, policies.dead_letters, policies.flow, lambda: 1.0),
            owner="test",
            retry=RETRY,
            jitter=lambda: 1.0,
            pace=policies.pace,
            trusts_group=policies.trusts_group,
        )
        self._stop = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    def _run(self) -> None:
        try:
            self.ingestion.run(self._stop)
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            self.error = error
        with self.happenings.changed:
            self._ended = True
            self.happenings.changed.notify_all()

    def start(self) -> Member:
        self._thread.start()
        return self

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds; looked at whenever something happened, and after every poll."""
        with self.happenings.changed:
            self.happenings.changed.wait_for(lambda: self._ended or condition(), DEADLINE_S)
        assert condition(), (self.error, self.happenings.happenings[-5:])

    def until_told(self, kind: type[Happening], times: int = 1) -> None:
        self.until(lambda: len([one for one in self.happenings.happenings if isinstance(one, kind)]) >= times)

    def join(self) -> None:
        """Wait until it ended by itself."""
        self.until_ended()
        self.worker.close()
        assert self.worker.join(DEADLINE_S)

    def ask_to_stop(self) -> None:
        """As SIGTERM does it."""
        self._stop.set()

    def until_ended(self) -> None:
        """Wait for the polling thread; the worker may still be at it."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        """Ask it, and wait for all of it. Raises what `run` raised."""
        self.ask_to_stop()
        self.join()
        if self.error is not None:
            raise self.error


@dataclass
class Rig:
    """A log, a warehouse and a dead-letter queue that outlive the consumers."""

    partitions: int = 1
    log: MemoryLog = field(default_factory=MemoryLog)
    warehouse: MemoryWarehouse = field(default_factory=MemoryWarehouse)
    queue: ScriptedQueue = field(default_factory=ScriptedQueue)

    def __post_init__(self) -> None:
        self.ledger = MemoryLedger(self.warehouse)
        self.event_log = MemoryEventLog(self.log)
        self.log.ensure({one.topic: self.partitions for one in CATALOG})

    def publish(self, values: Iterable[bytes], event_type: EventType = CLICKS, headers: Headers = ()) -> None:
        self.log.append(
            event_type.topic, [NewRecord(b"k" if self.partitions == 1 else None, v, headers) for v in values]
        )

    def publish_clicks(self, first: int, last: int) -> None:
        self.publish(event(CLICKS, f"e{number}") for number in range(first, last + 1))

    def member(self, policies: Policies | None = None) -> Member:
        return Member(self, policies or Policies())

    @contextmanager
    def running(self, policies: Policies | None = None) -> Iterator[Member]:
        """A consumer that is stopped, and has drained, at the end."""
        member = self.member(policies).start()
        try:
            yield member
        finally:
            member.stop()

    def landed(self, event_type: EventType = CLICKS) -> list[str]:
        """Event ids, in no particular order."""
        return sorted(str(row["event_id"]) for row in self.ledger.recent(event_type, 10**6))

    def rows(self, event_type: EventType = CLICKS) -> int:
        return self.ledger.summary(event_type).rows

    def committed(self, number: int = 0, event_type: EventType = CLICKS) -> int | None:
        with self.log.changed:
            return self.log.committed(GROUP, place(event_type, number))

    def letters(self) -> list[DeadLetter]:
        return [stored.letter for stored in self.queue.page(limit=10**6)]

    def audit(self, event_type: EventType = CLICKS) -> StreamAudit:
        accounts = []
        for one in self.ledger.positions():
            if one.partition.topic != event_type.topic:
                continue
            offsets = self.ledger.offsets(event_type, one.partition, one.incarnation)
            accounts.append(
                PartitionAccount(
                    one.partition,
                    one.incarnation,
                    self.event_log.logged(one.partition),
                    one.next_offset or 0,
                    offsets.landed,
                    offsets.duplicates,
                    offsets.filtered,
                    self.queue.offsets(one.partition, one.incarnation),
                    tuple(self.ledger.doubled(event_type)),
                )
            )
        return audit(accounts)


def first_times(count: int, error: Exception) -> Callable[..., None]:
    """Raises the error so many times, and then nothing."""
    left = [error] * count

    def perhaps(*_: object) -> None:
        if left:
            raise left.pop()

    return perhaps


class Gate:
    """Who passes waits until it is open; a test sees that somebody waits."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._reached = threading.Event()

    def __call__(self, *_: object) -> None:
        self._reached.set()
        assert self._open.wait(DEADLINE_S)

    def open(self) -> None:
        self._open.set()

    def until_reached(self) -> None:
        assert self._reached.wait(DEADLINE_S)
