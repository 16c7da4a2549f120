"""One event, checked by the catalog, as the message that an outbox keeps: what Publish would have logged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from flowguard.application.intake import Admitted, Defaults, EventFault, Intake, Rejected
from flowguard.domain.catalog import EventType
from flowguard.domain.cloudevents import binary_of
from flowguard.domain.errors import FlowGuardError
from flowguard.domain.outbox import OutboxMessage


class InvalidEventError(FlowGuardError, ValueError):
    """The event does not fit its type, and never will as it is. `faults` says where and why."""

    def __init__(self, event_type: str, faults: Sequence[EventFault]) -> None:
        self.faults = tuple(faults)
        told = "; ".join(f"{one.pointer}: {one.message}" if one.pointer else one.message for one in faults)
        super().__init__(f"{event_type}: {told}")


class Composed(NamedTuple):
    """The message, and the event that it is of, whose `data` is there and in the newest version."""

    message: OutboxMessage
    event: Admitted


class Composer:
    """For events of one type. Callable from several threads. `binary`: in the binary mode of CloudEvents."""

    def __init__(self, event_type: EventType, defaults: Defaults, *, binary: bool = False) -> None:
        self._type = event_type
        self._intake = Intake(event_type, defaults)
        self._binary = binary

    def compose(self, event: object, now: datetime, *, clean: bool = False) -> Composed:
        """The event (see `Publish.publish`) as a message. Raises InvalidEventError.

        A schema version that the catalog does not know is refused here: what is stored together with the event was
        written by the same program, so that nobody is ahead of it.
        """
        if not isinstance(event, dict):
            raise InvalidEventError(self._type.name, [EventFault("", "an event is a JSON object")])
        rejected: Rejected = {}
        admitted = self._intake.admit([(0, event)], rejected, now, clean=clean)
        if rejected:
            raise InvalidEventError(self._type.name, rejected[0])
        (one,) = admitted
        if one.data is None:
            versions = self._type.versions
            known = f"{versions[0]}" if len(versions) == 1 else f"one of {versions[0]} to {versions[-1]}"
            raise InvalidEventError(self._type.name, [EventFault(f"/{one.names.version}", f"must be {known}")])
        value, headers = binary_of(one.value) if self._binary else (one.value, ())
        return Composed(OutboxMessage(one.event_id, self._type.topic, one.key_bytes, value, headers), one)
