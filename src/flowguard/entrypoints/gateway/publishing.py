"""POST /v1/events: from a request to the use case, and from its report to the answer."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from flowguard.application.publish import Publish, PublishReport, UnknownEventTypeError
from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.entrypoints.gateway.body import events_of, read_body, wants_lines
from flowguard.entrypoints.gateway.origins import refuse_foreign
from flowguard.entrypoints.gateway.problems import (
    NO_EVENTS,
    NONE_ACCEPTED,
    UNKNOWN_EVENT_TYPE,
    ProblemError,
    problem,
    unavailable,
)

if TYPE_CHECKING:
    from starlette.requests import Request

_encode = msgspec.json.Encoder().encode


class PublishingEndpoint:
    """Answers 202 only after the log is durable. `names` are the event types that there are."""

    def __init__(
        self,
        publish: Publish,
        names: Collection[str],
        *,
        max_body_bytes: int,
        body_idle_s: float,
        max_events: int,
        origins: Collection[str],
    ) -> None:
        self._publish = publish
        self._names = names
        self._max_body_bytes = max_body_bytes
        self._body_idle_s = body_idle_s
        self._max_events = max_events
        self._origins = origins

    async def __call__(self, request: Request) -> Response:
        """One request: one object, an array or lines; of the type in the path, or each of its own."""
        refuse_foreign(request, self._origins)
        event_type: str | None = request.path_params.get("event_type")
        if event_type is not None and event_type not in self._names:
            known = ", ".join(self._names)
            raise ProblemError(UNKNOWN_EVENT_TYPE, f"There is no event type {event_type[:100]!r}; there are: {known}")
        lines = wants_lines(request.headers.get("content-type", ""))
        body = await read_body(request, self._max_body_bytes, self._body_idle_s)
        events, clean = events_of(body, self._max_events, lines=lines)
        del body
        if not events:
            detail = "The array is empty: there is nothing to log."
            return problem(NO_EVENTS, detail, more=_members(PublishReport(0, 0, 0, ())))
        try:
            report = await self._publish.publish(events, event_type, clean=clean)
        except UnknownEventTypeError as error:
            raise ProblemError(UNKNOWN_EVENT_TYPE, str(error)) from error
        except (TransientError, ConfigurationError) as error:
            return unavailable(error)
        if report.rejected == len(report.results):
            return problem(NONE_ACCEPTED, _summary(report), more=_members(report))
        return Response(_encode(report), HTTPStatus.ACCEPTED, media_type="application/json")


def _members(report: PublishReport) -> dict[str, object]:
    return msgspec.structs.asdict(report)


def _summary(report: PublishReport) -> str:
    first = report.results[0].errors[0]
    place = f"at {first.pointer}: " if first.pointer else ""
    if report.rejected == 1:
        return (
            f"The event was rejected, {place}{first.message}" if place else f"The event was rejected: {first.message}"
        )
    return f"All {report.rejected:,} events were rejected; the first one {place or 'because: '}{first.message}"
