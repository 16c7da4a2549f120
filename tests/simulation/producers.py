"""Producers: the gateway's publish use case with clients that try again, and others that write to the log directly."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from flowguard.adapters.system import RecordingTelemetry
from flowguard.application.intake import Defaults
from flowguard.application.publish import Publish, Verdict
from flowguard.domain.errors import FlowGuardError
from flowguard.domain.recent_ids import RecentIds
from flowguard.ports.publisher import NewRecord
from tests.simulation.errors import Violation
from tests.simulation.plan import Sending
from tests.simulation.ports import SimPublisher
from tests.simulation.streams import CATALOGS, OLD, Kind, Spec, topic_of

if TYPE_CHECKING:
    from tests.simulation.world import World


class Producers:
    """Each sending is tried until it is acknowledged: with the same event ids, as clients are told to."""

    def __init__(self, world: World) -> None:
        self.publisher = SimPublisher(world)
        self.open = 0
        self._world = world
        numbers = count(1)
        self._gateway = Publish(
            CATALOGS[OLD],
            self.publisher,
            world.clock,
            RecordingTelemetry(),
            defaults=Defaults(lambda: f"made-{next(numbers)}", "gateway"),
            recent_ids=RecentIds(world.rng.choice((0, 5, 1_000))),
            incarnation_of=lambda topic, topic_id: world.oracle.incarnations.get((topic, topic_id), 1),
        )

    def begin(self) -> None:
        world = self._world
        for sending in world.plan.sendings:
            self.open += 1
            world.scheduler.after(sending.at, partial(self._send, sending))

    def _send(self, sending: Sending) -> None:
        from tests.simulation.world import finish

        world = self._world
        specs = [spec for spec in sending.specs if not sending.gateway or _fits_gateway(spec)]
        try:
            if sending.gateway:
                self._publish(sending.stream, specs)
            else:
                records = [NewRecord(spec.key, spec.value) for spec in specs]
                finish(self.publisher.publish(topic_of(sending.stream), records))
        except FlowGuardError as error:
            world.note("producer", "tries again", type(error).__name__)
            world.scheduler.after(world.rng.uniform(0.05, 0.5), partial(self._send, sending))
            return
        self.open -= 1

    def _publish(self, stream: str, specs: list[Spec]) -> None:
        from tests.simulation.world import finish

        events = [
            {
                "event_id": spec.event_id,
                "occurred_at": "2026-01-02T03:04:05Z",
                "schema_version": spec.version,
                "source": spec.source,
                **spec.data,
            }
            for spec in specs
        ]
        report = finish(self._gateway.publish(events, stream))
        logged = {one.spec.identity for records in self._world.oracle.records.values() for one in records.values()}
        for result, spec in zip(report.results, specs, strict=True):
            if result.verdict is Verdict.REJECTED:
                raise Violation("the gateway", f"{spec.kind.name} {spec.event_id} was rejected: {result.errors}")
            if spec.identity not in logged:
                raise Violation("the gateway", f"{spec.event_id} is {result.verdict}, and is not in the log")
        self._world.note("gateway", report.accepted, report.duplicate)


def _fits_gateway(spec: Spec) -> bool:
    return spec.kind in {Kind.GOOD, Kind.OLD_VERSION, Kind.FILTERED, Kind.FUTURE_VERSION}
