"""Publish: events of a producer, into the log. The answer says what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from flowguard.application.intake import (
    Admitted,
    Defaults,
    EventFault,
    Intake,
    Rejected,
    given_id,
    type_of,
    type_pointer,
)
from flowguard.domain.catalog import Catalog, Data, EventType
from flowguard.domain.cloudevents import binary_of
from flowguard.domain.errors import FlowGuardError
from flowguard.domain.ingestion import ingestion_id_prefix
from flowguard.domain.recent_ids import RecentIds, identity
from flowguard.domain.telemetry import EventsPublished
from flowguard.ports.clock import Clock
from flowguard.ports.publisher import EventPublisher, NewRecord
from flowguard.ports.telemetry import Telemetry


class Verdict(StrEnum):
    """What became of one event."""

    ACCEPTED = "accepted"
    """It is durable in the log, and will land exactly once."""
    DUPLICATE = "duplicate"
    """The same event, by source and id, was logged a moment ago. Nothing more is to be done."""
    REJECTED = "rejected"
    """It is not in the log, and never will be as it is."""


class EventResult(msgspec.Struct, frozen=True, gc=False):
    """The verdict on one event. `index` counts from 0, in the order of the request.

    `ingestion_id` is where the log put it; of a duplicate, where it was put first. A rejected one has `errors`.
    """

    index: int
    verdict: Verdict
    event_id: str | None
    ingestion_id: str | None
    errors: Sequence[EventFault] = ()


class PublishReport(msgspec.Struct, frozen=True):
    """The verdicts on all events of a request, one each, in its order."""

    accepted: int
    duplicate: int
    rejected: int
    results: Sequence[EventResult]


class UnknownEventTypeError(FlowGuardError):
    """The catalog has no event type of that name. The text says which there are."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for an event that could not be read at all (a line that is not JSON): it is rejected with this message."""

    message: str


@dataclass(slots=True)
class _Lane:
    """What of one request goes to one topic."""

    event_type: EventType
    events: list[tuple[int, Data]] = field(default_factory=list)
    new: list[Admitted] = field(default_factory=list)
    identities: dict[str, int] = field(default_factory=dict)  # of `new`, to their place in it
    repeated: list[tuple[int, str, int]] = field(default_factory=list)  # (index, event id, place in `new` of the first)


class Publish:
    """Checks events and appends them to the log. Async: one instance serves many concurrent calls in one event loop.

    `incarnation_of(topic, topic_id)` says which incarnation of the topic that id is, for ingestion ids. It is asked
    after the log took the events: it never blocks and never raises. `binary`: events are logged in the binary mode of
    CloudEvents (attributes in headers, data in the value) instead of the structured one; both are read back.
    """

    def __init__(
        self,
        catalog: Catalog,
        publisher: EventPublisher,
        clock: Clock,
        telemetry: Telemetry,
        *,
        defaults: Defaults,
        recent_ids: RecentIds,
        incarnation_of: Callable[[str, str], int],
        binary: bool = False,
    ) -> None:
        self._catalog = catalog
        self._publisher = publisher
        self._clock = clock
        self._telemetry = telemetry
        self._recent = recent_ids
        self._incarnation_of = incarnation_of
        self._binary = binary
        self._intakes = {one.name: Intake(one, defaults) for one in catalog}

    async def publish(
        self, events: Sequence[object], event_type: str | None = None, *, clean: bool = False
    ) -> PublishReport:
        """Log those events that are in order and new; returns when they would survive a power cut.

        Each event is a dict: `event_id`, `occurred_at`, `schema_version`, `source`, `subject` and `event_type`, all
        optional, and the fields of its model; or a CloudEvent in its structured form. Where `event_type` is None, each
        names its own. What is wrong with one event never keeps its neighbours out. `clean` promises that the events
        came out of JSON and hold nothing that `payload.faults` would find.

        Raises UnknownEventTypeError; and what EventPublisher.publish raises: then any part of the events may be in the
        log, and it is right to publish all of them once more, with the same event ids.
        """
        started = self._clock.monotonic()
        rejected: Rejected = {}
        lanes = self._lanes(events, event_type, rejected)
        results: dict[int, EventResult] = {}
        now = self._clock.now()
        for lane in lanes:
            admitted = self._intakes[lane.event_type.name].admit(lane.events, rejected, now, clean=clean)
            self._part_known(lane, admitted, results)
        await self._log_all([lane for lane in lanes if lane.new], results)
        for index, faults in rejected.items():
            results[index] = EventResult(index, Verdict.REJECTED, given_id(events[index]), None, faults)
        self._tell(lanes, results, self._clock.monotonic() - started)
        verdicts = [one.verdict for one in results.values()]
        return PublishReport(
            verdicts.count(Verdict.ACCEPTED),
            verdicts.count(Verdict.DUPLICATE),
            len(rejected),
            [results[index] for index in range(len(events))],
        )

    async def check(self) -> None:
        """Raise TransientError or ConfigurationError, with how to mend it, if the log would take nothing now."""
        await self._publisher.check()

    def _lanes(self, events: Sequence[object], event_type: str | None, rejected: Rejected) -> list[_Lane]:
        """Which event goes where; what has no place to go is rejected."""
        only = None if event_type is None else _Lane(self._named(event_type))
        lanes: dict[str, _Lane] = {}
        for index, event in enumerate(events):
            if not isinstance(event, dict):
                text = event.message if isinstance(event, Unreadable) else "an event is a JSON object"
                rejected[index] = [EventFault("", text)]
            elif only is not None:
                only.events.append((index, event))
            else:
                name = type_of(event)
                if isinstance(name, str) and name in lanes:
                    lanes[name].events.append((index, event))
                elif isinstance(name, str) and (known := self._catalog.named(name)) is not None:
                    lanes[name] = _Lane(known, [(index, event)])
                else:
                    text = f"must be one of: {', '.join(self._catalog.names)}"
                    rejected[index] = [EventFault(type_pointer(event), text)]
        return list(lanes.values()) if only is None else [only]

    def _named(self, name: str) -> EventType:
        found = self._catalog.named(name)
        if found is None:
            known = ", ".join(self._catalog.names)
            raise UnknownEventTypeError(f"there is no event type {name[:100]!r}; there are: {known}")
        return found

    def _part_known(self, lane: _Lane, admitted: list[Admitted], results: dict[int, EventResult]) -> None:
        """Those that were logged before get their verdict; those that are new stay in the lane."""
        find, name = self._recent.find, lane.event_type.name
        for one in admitted:
            who = identity(name, one.source, one.event_id)
            known = find(who)
            if known is not None:
                results[one.index] = EventResult(one.index, Verdict.DUPLICATE, one.event_id, known)
            elif who in lane.identities:
                lane.repeated.append((one.index, one.event_id, lane.identities[who]))
            else:
                lane.identities[who] = len(lane.new)
                lane.new.append(one)

    async def _log_all(self, lanes: list[_Lane], results: dict[int, EventResult]) -> None:
        if len(lanes) < 2:  # noqa: PLR2004  # none, where nothing is new, or the usual one: there is nothing to gather
            for lane in lanes:
                await self._log(lane, results)
            return
        # Together, so that they share a flush; and all of them to the end, so that none is half remembered.
        outcomes = await asyncio.gather(*(self._log(lane, results) for lane in lanes), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _log(self, lane: _Lane, results: dict[int, EventResult]) -> None:
        topic = lane.event_type.topic
        receipt = await self._publisher.publish(topic, self._records(lane.new))
        incarnation = self._incarnation_of(topic, receipt.topic_id)
        partitions = {partition for partition, _ in receipt.places}
        prefixes = {number: ingestion_id_prefix(topic, incarnation, number) for number in partitions}
        ids = [f"{prefixes[partition]}{offset}" for partition, offset in receipt.places]
        self._recent.remember(zip(lane.identities, ids, strict=True))
        for one, ingestion_id in zip(lane.new, ids, strict=True):
            results[one.index] = EventResult(one.index, Verdict.ACCEPTED, one.event_id, ingestion_id)
        for index, event_id, first in lane.repeated:
            results[index] = EventResult(index, Verdict.DUPLICATE, event_id, ids[first])

    def _records(self, events: Sequence[Admitted]) -> list[NewRecord]:
        if self._binary:
            return [NewRecord(one.key_bytes, *binary_of(one.value)) for one in events]
        return [NewRecord(one.key_bytes, one.value) for one in events]

    def _tell(self, lanes: list[_Lane], results: Mapping[int, EventResult], seconds: float) -> None:
        for lane in lanes:
            verdicts = [results[index].verdict for index, _ in lane.events]
            accepted, duplicate, rejected = (verdicts.count(verdict) for verdict in Verdict)
            self._telemetry.emit(EventsPublished(lane.event_type.name, accepted, duplicate, rejected, seconds))
