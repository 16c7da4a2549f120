"""Publish on a memory log, with a catalog that has a past and a few traps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec
from pydantic import BaseModel, Field, field_validator

from flowguard.adapters.memory import MemoryEventPublisher, MemoryLog
from flowguard.adapters.system import RecordingTelemetry
from flowguard.application.intake import Defaults
from flowguard.application.publish import Publish, PublishReport
from flowguard.domain.catalog import BUILT_IN, Catalog, Data, EventType
from flowguard.domain.events import Envelope
from flowguard.domain.ingestion import RecordRun
from flowguard.domain.recent_ids import RecentIds
from flowguard.ports.clock import Clock
from flowguard.ports.publisher import EventPublisher, NewRecord, Receipt

NOW = datetime(2026, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)
CLICK = {"user_id": "u1", "session_id": "s1", "item_id": "42", "ad_id": "food_42"}


class Booking(BaseModel):
    """Version 3: `name` became `guest`, and `nights` are counted."""

    guest: str
    nights: int | list[int] = 1
    room: str = Field("none", alias="room/number")

    @field_validator("guest")
    @classmethod
    def _has_a_bug(cls, guest: str) -> str:
        return {"bug": ""}["none"] if guest == "bug" else guest


def _renamed(data: Data) -> Data:
    data["guest"] = data.pop("name")
    if isinstance(data.get("nights"), list):
        data["nights"].append(0)  # it may change its argument
    return data


def _forgetful(data: Data) -> Data:
    return None if data.get("guest") == "forgotten" else {**data, "nights": data.get("nights", 1)}  # type: ignore[return-value]


BOOKINGS = EventType("bookings", Booking, key="room", version=3, upcasters={1: _renamed, 2: _forgetful})
CATALOG = Catalog([*BUILT_IN, BOOKINGS])


class StillClock(Clock):
    """It is always NOW, and each look at the monotonic clock costs a second."""

    def __init__(self) -> None:
        self._seconds = count()

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return float(next(self._seconds))


class Broken(EventPublisher):
    """Raises the next of `errors` (None: works), once each; then works. With `applied`, the records are kept first."""

    def __init__(self, inner: EventPublisher) -> None:
        self.inner = inner
        self.errors: dict[str, list[Exception | None]] = {}
        self.applied = False

    async def publish(self, topic: str, records: Sequence[NewRecord]) -> Receipt:
        waiting = self.errors.get(topic)
        error = waiting.pop(0) if waiting else None
        if error is None:
            return await self.inner.publish(topic, records)
        if self.applied:
            await self.inner.publish(topic, records)
        raise error

    async def check(self) -> None:
        await self.inner.check()

    async def close(self) -> None:
        await self.inner.close()


class Desk:
    """A Publish and all that it touches. Event ids that it makes up are made-1, made-2, ..."""

    def __init__(
        self, *, recent_ids: int = 100, incarnation: int = 1, partitions: int = 1, binary: bool = False
    ) -> None:
        self.log = MemoryLog(now_ms=lambda: 0)
        self.log.ensure({one.topic: partitions for one in CATALOG})
        self.broken = Broken(MemoryEventPublisher(self.log))
        self.telemetry = RecordingTelemetry()
        self._made = count(1)
        self.publish = Publish(
            CATALOG,
            self.broken,
            StillClock(),
            self.telemetry,
            defaults=Defaults(lambda: f"made-{next(self._made)}", "gateway"),
            recent_ids=RecentIds(recent_ids),
            incarnation_of=lambda _topic, _topic_id: incarnation,
            binary=binary,
        )

    def post(self, events: Sequence[object], event_type: str | None = "clicks") -> PublishReport:
        return asyncio.run(self.publish.publish(events, event_type))

    @property
    def count(self) -> int:
        """How many records there are, in all topics."""
        return sum(one.next_offset for topic in self.log.topics.values() for one in topic.partitions)

    def runs(self, event_type: str = "clicks") -> list[RecordRun]:
        topic = CATALOG.named(event_type)
        assert topic is not None
        return [
            run
            for partition in self.log.topic(topic.topic).partitions
            for run in partition.read(0, partition.next_offset, 1 << 30)
        ]

    def logged(self, event_type: str = "clicks") -> list[Envelope]:
        """What the topic holds, decoded as the consumer does it, in log order."""
        return [msgspec.json.decode(value, type=Envelope) for run in self.runs(event_type) for value in run.values]

    def data(self, event_type: str = "clicks") -> list[Any]:
        return [msgspec.json.decode(one.data) for one in self.logged(event_type)]


def click(**fields: object) -> dict[str, object]:
    return {**CLICK, **fields}


def verdicts(report: PublishReport) -> list[str]:
    return [str(one.verdict) for one in report.results]


def pointers(report: PublishReport, index: int = 0) -> list[str]:
    return [one.pointer for one in report.results[index].errors]
