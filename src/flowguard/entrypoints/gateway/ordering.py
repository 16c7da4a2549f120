"""POST /v1/orders: from a request to the use case, and from what became of it to the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.responses import Response

from flowguard.application.composing import InvalidEventError
from flowguard.application.orders import PlaceOrder
from flowguard.domain.errors import (
    BackpressureError,
    ConfigurationError,
    PermanentError,
    TransientError,
    UnknownOutcomeError,
)
from flowguard.domain.orders import MAX_KEY, KeyReusedError, OrderExistsError, Placement
from flowguard.entrypoints.gateway.body import read_body, value_of, wants_lines
from flowguard.entrypoints.gateway.origins import refuse_foreign
from flowguard.entrypoints.gateway.problems import (
    BAD_KEY,
    INVALID_ORDER,
    KEY_REUSED,
    MEDIA_TYPE_REFUSED,
    NO_ORDERS,
    ORDER_EXISTS,
    UNAVAILABLE,
    ProblemError,
    problem,
    retry_after,
)

if TYPE_CHECKING:
    from starlette.requests import Request

KEY_HEADER = "Idempotency-Key"
REPEATED_HEADER = "Idempotent-Replayed"
_THREADS = 8
_MOST_WAITING = 64
_T = TypeVar("_T")


class OrderAnswer(msgspec.Struct, frozen=True):
    """An order that is durable, and whose event lands exactly once."""

    order_id: str
    event_id: str
    placed_at: datetime


class OrderingEndpoint:
    """Answers 201 only after the order and its event are durable. `place` is None where no orders are taken."""

    def __init__(
        self, place: PlaceOrder | None, *, max_body_bytes: int, body_idle_s: float, origins: Collection[str]
    ) -> None:
        self._place = place
        self._max_body_bytes = max_body_bytes
        self._body_idle_s = body_idle_s
        self._origins = origins
        self._threads = _Threads()

    async def __call__(self, request: Request) -> Response:
        """One request: one order, and perhaps a key."""
        refuse_foreign(request, self._origins)
        if self._place is None:
            detail = "This gateway takes no orders: set FLOWGUARD_ORDERS_URL=postgresql://user@host:5432/database."
            raise ProblemError(NO_ORDERS, detail)
        place = self._place
        key = _key_of(request)
        if wants_lines(request.headers.get("content-type", "")):
            raise ProblemError(MEDIA_TYPE_REFUSED, "One order is placed at a time: send it as application/json.")
        order, clean = value_of(await read_body(request, self._max_body_bytes, self._body_idle_s))
        try:
            placement = await self._threads.call(lambda: place.place(order, key, clean=clean))
        except InvalidEventError as error:
            more = {"errors": msgspec.to_builtins(error.faults)}
            return problem(INVALID_ORDER, f"The order was not placed. {error}", more=more)
        except PermanentError as error:
            return problem(
                INVALID_ORDER, f"The order was not placed: the database refuses it: {error}", more=_NO_ERRORS
            )
        except KeyReusedError as error:
            return problem(KEY_REUSED, f"{error}. A new order needs a new key; the first one stays as it was placed.")
        except OrderExistsError as error:
            return problem(ORDER_EXISTS, f"{error}. To send an order again safely, give it an {KEY_HEADER}.")
        except (TransientError, ConfigurationError) as error:
            return _unavailable(error, key)
        return _answer(placement)

    def stop(self) -> None:
        """Let the threads end."""
        self._threads.stop()


_NO_ERRORS: dict[str, object] = {"errors": []}


def _answer(placement: Placement) -> Response:
    order = placement.order
    body = msgspec.json.encode(OrderAnswer(order.order_id, order.event_id, order.placed_at))
    headers = {REPEATED_HEADER: "true"} if placement.repeated else None
    return Response(body, HTTPStatus.CREATED, headers, media_type="application/json")


def _unavailable(error: TransientError | ConfigurationError, key: str | None) -> Response:
    """503, and whether to send it again: that depends on whether it may have been placed, and on the key."""
    if key is not None:
        advice = f"Sending the same request again, with the same {KEY_HEADER}, is safe: the order is placed once."
    elif isinstance(error, UnknownOutcomeError):
        advice = (
            "The order may have been placed. Send the same request again: a 409 with order-exists then says that it"
            f" was. With an {KEY_HEADER} the answer would be the first one's."
        )
    else:
        advice = "The order was not placed. Send it again."
    return problem(UNAVAILABLE, f"{error}. {advice}", retry_after(error))


def _key_of(request: Request) -> str | None:
    """The client's key: a text as it is, or in quotes as a structured field (RFC 9651) has it. Raises ProblemError."""
    given = request.headers.getlist(KEY_HEADER)
    if not given:
        return None
    key = given[0].strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(given) > 1 or not 0 < len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
        raise ProblemError(
            BAD_KEY, f"{KEY_HEADER} is one text of 1 to {MAX_KEY} printable ASCII characters, such as a UUID."
        )
    return key


class _Threads:
    """Runs what blocks; no more of it waits than can be answered in time."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="flowguard-orders")
        self._under_way = 0

    async def call(self, function: Callable[[], _T]) -> _T:
        """What the function returns or raises. Raises BackpressureError where too many wait."""
        if self._under_way >= _MOST_WAITING:
            raise BackpressureError(f"{_MOST_WAITING} orders are being placed already; nothing was kept of this one")
        self._under_way += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, function)
        future.add_done_callback(self._done)
        return await asyncio.shield(future)  # a client that goes away does not free the thread

    def _done(self, _future: asyncio.Future[_T]) -> None:
        self._under_way -= 1

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
