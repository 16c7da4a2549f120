"""Two pipelines, and a Forward between them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from flowguard.adapters.memory import MemoryEventSource
from flowguard.adapters.system import RecordingTelemetry, SystemClock
from flowguard.application.forward import Forward, ForwardPorts, nothing_left
from flowguard.application.ingest_ports import Pace
from flowguard.application.worker import ThreadWorker
from flowguard.domain.batching import FlowPolicy
from flowguard.domain.errors import RetryPolicy
from flowguard.domain.ingestion import Headers
from flowguard.ports.publisher import EventPublisher, NewRecord, Receipt
from flowguard.ports.source import EventSource
from tests.application.ingesting import DEADLINE_S, ScriptedSource
from tests.application.pipeline import Pipeline
from tests.application.publishing import Broken
from tests.builders import CLICKS, event

TOPIC = CLICKS.topic
GROUP = "flowguard"  # of the origin's own settings, as these tests make it


@dataclass
class Told:
    """One record, as a test compares it."""

    key: bytes | None
    value: bytes
    headers: Headers


class Way:
    """Two pipelines and what goes between them."""

    def __init__(self, origin: Pipeline, target: Pipeline) -> None:
        self.origin = origin
        self.target = target
        self.telemetry = RecordingTelemetry()
        self.stop = threading.Event()

    def publisher(self) -> Broken:
        return Broken(self.target.container.publisher())

    def source(self) -> ScriptedSource:
        return ScriptedSource(cast("MemoryEventSource", self.origin.container.source()), threading.Condition())

    def forward(
        self,
        publisher: EventPublisher | None = None,
        source: EventSource | None = None,
        flow: FlowPolicy | None = None,
    ) -> Forward:
        return Forward(
            ForwardPorts(
                source or self.origin.container.source(),
                publisher or self.target.container.publisher(),
                SystemClock(),
                self.telemetry,
                ThreadWorker("test-forward"),
            ),
            retry=RetryPolicy(initial_s=0.001, cap_s=0.01),
            jitter=lambda: 1.0,
            flow=flow,
            pace=Pace(idle_s=0.01, busy_s=0.005, drain_s=DEADLINE_S),
        )

    def run(self, forward: Forward) -> dict[str, int]:
        """Until nothing is left."""
        forward.run(self.stop, finished=self.empty)
        return dict(forward.forwarded)

    def empty(self) -> bool:
        container = self.origin.container
        return nothing_left(container.event_log(), container.topics(), GROUP)


class Slow(EventPublisher):
    """Publishes when it is let. `asked` says that somebody waits."""

    def __init__(self, inner: EventPublisher) -> None:
        self._inner = inner
        self.asked = threading.Event()
        self.let = threading.Event()

    async def publish(self, topic: str, records: Sequence[NewRecord]) -> Receipt:
        self.asked.set()
        assert self.let.wait(DEADLINE_S)
        return await self._inner.publish(topic, records)

    async def check(self) -> None:
        await self._inner.check()

    async def close(self) -> None:
        await self._inner.close()


def put(pipeline: Pipeline, records: Sequence[NewRecord], topic: str = TOPIC) -> None:
    async def publish() -> None:
        publisher = pipeline.container.publisher()
        await publisher.publish(topic, records)
        await publisher.close()

    asyncio.run(publish())


def events(first: int, last: int) -> list[NewRecord]:
    """With few keys, so that each has a long history."""
    return [NewRecord(b"k%d" % (n % 5), event(CLICKS, f"e{n}"), (("n", b"%d" % n),)) for n in range(first, last + 1)]


def held(pipeline: Pipeline, topic: str = TOPIC) -> dict[int, list[Told]]:
    """What a log has, by partition, in order."""
    log = pipeline.container.event_log()
    described = log.describe(topic, GROUP)
    assert described is not None
    found: dict[int, list[Told]] = {}
    for span in described.spans:
        at = span.earliest
        while runs := log.read(span.partition, at, span.next_offset):
            for run in runs:
                found.setdefault(span.partition.partition, []).extend(
                    Told(run.key(index), value, run.headers_of(index)) for index, value in enumerate(run.values)
                )
                at = run.next_offset
    return found


def once(records: Sequence[Told]) -> list[Told]:
    """Each where it came first."""
    return [one for index, one in enumerate(records) if one not in records[:index]]
