"""Refusals, as application/problem+json (RFC 9457): one table of all that the gateway can say no to."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from flowguard.domain.errors import BackpressureError, ConfigurationError, TransientError

if TYPE_CHECKING:
    from starlette.requests import Request

MEDIA_TYPE = "application/problem+json"
_encode = msgspec.json.encode


class Kind(NamedTuple):
    """A kind of problem: its name in `type`, its status, its title. Stable: clients may branch on the name."""

    name: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        return f"urn:flowguard:problem:{self.name}"


NOT_JSON = Kind("not-json", 400, "The body is not JSON")
EMPTY_BODY = Kind("empty-body", 400, "The body is empty")
BAD_ENCODING = Kind("bad-content-encoding", 400, "The body is not what Content-Encoding says")
BAD_KEY = Kind("bad-idempotency-key", 400, "The Idempotency-Key is none")
FOREIGN_ORIGIN = Kind("foreign-origin", 403, "Browsers on this origin may not post events")
UNKNOWN_EVENT_TYPE = Kind("unknown-event-type", 404, "There is no such event type")
NO_ORDERS = Kind("no-orders", 404, "This gateway takes no orders")
NOT_FOUND = Kind("not-found", 404, "There is nothing here")
METHOD_NOT_ALLOWED = Kind("method-not-allowed", 405, "This is not done with that method")
STALLED = Kind("stalled", 408, "The body did not come to its end")
ORDER_EXISTS = Kind("order-exists", 409, "There is such an order already")
TOO_LARGE = Kind("too-large", 413, "The body is too large")
TOO_MANY = Kind("too-many-events", 413, "There are too many events in one request")
MEDIA_TYPE_REFUSED = Kind("unsupported-media-type", 415, "Events are sent as JSON")
NO_EVENTS = Kind("no-events", 422, "There is no event in the request")
NONE_ACCEPTED = Kind("none-accepted", 422, "No event of the request was accepted")
INVALID_ORDER = Kind("invalid-order", 422, "The order was not placed")
KEY_REUSED = Kind("idempotency-key-reused", 422, "The Idempotency-Key belongs to another request")
BUG = Kind("bug", 500, "Something is wrong inside FlowGuard")
UNAVAILABLE = Kind("unavailable", 503, "Not now")
NOT_READY = Kind("not-ready", 503, "The log takes no events now")

KINDS = tuple(one for one in globals().values() if isinstance(one, Kind))


class ProblemError(Exception):
    """The request is refused. `detail` says what is wrong with this one, and how to mend it."""

    def __init__(self, kind: Kind, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = headers


def problem(
    kind: Kind, detail: str, headers: Mapping[str, str] | None = None, more: Mapping[str, object] | None = None
) -> Response:
    """The answer. `more` are members beside the standard ones."""
    body = {"type": kind.uri, "title": kind.title, "status": kind.status, "detail": detail, **(more or {})}
    return Response(_encode(body), kind.status, headers, MEDIA_TYPE)


def unavailable(error: TransientError | ConfigurationError) -> Response:
    """503 for a log that cannot take it now, or that a person has to mend first."""
    detail = f"{error}. Sending the same events again, with the same event ids, is safe: each lands once."
    return problem(UNAVAILABLE, detail, retry_after(error))


def retry_after(error: Exception) -> dict[str, str]:
    """The header that says when to try again, in seconds."""
    wait_s = error.retry_after_s if isinstance(error, BackpressureError) else 1.0
    return {"Retry-After": str(max(1, ceil(wait_s)))}


async def on_problem(_request: Request, error: Exception) -> Response:
    """Handler of ProblemError."""
    assert isinstance(error, ProblemError)  # noqa: S101  # it is registered for that
    return problem(error.kind, error.detail, error.headers)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Handler of what Starlette's routing refuses."""
    assert isinstance(error, HTTPException)  # noqa: S101  # it is registered for that
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{request.method} is not possible here; {allowed} is"
        return problem(METHOD_NOT_ALLOWED, detail, error.headers)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return problem(NOT_FOUND, f"{request.url.path[:200]} is no address of this gateway; GET /docs shows all")
    kind = Kind("http", error.status_code, HTTPStatus(error.status_code).phrase)
    return problem(kind, error.detail, error.headers)


async def on_bug(_request: Request, _error: Exception) -> Response:
    """Handler of everything else. The server logs the error with its traceback; none of it goes out."""
    return problem(BUG, "The request was not carried out to its end; the gateway's log says why.")
