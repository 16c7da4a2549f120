"""The gateway as an ASGI application, put together from plain parts. Nothing connects when it is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from flowguard.application.orders import PlaceOrder
from flowguard.application.publish import Publish
from flowguard.domain.catalog import Catalog
from flowguard.entrypoints.gateway.health import Check, HealthEndpoints
from flowguard.entrypoints.gateway.live import LiveEndpoints, PipelineObserver
from flowguard.entrypoints.gateway.ordering import KEY_HEADER, REPEATED_HEADER, OrderingEndpoint
from flowguard.entrypoints.gateway.pages import PageEndpoints
from flowguard.entrypoints.gateway.problems import ProblemError, on_bug, on_http_error, on_problem
from flowguard.entrypoints.gateway.publishing import PublishingEndpoint
from flowguard.ports.clock import Clock
from flowguard.settings import Settings


async def _nothing() -> None:
    pass


def create_app(
    catalog: Catalog,
    settings: Settings,
    publish: Publish,
    observer: PipelineObserver,
    clock: Clock,
    *,
    orders: PlaceOrder | None = None,
    parts: Mapping[str, Check] | None = None,
    on_shutdown: Callable[[], Awaitable[None]] = _nothing,
) -> Starlette:
    """The gateway. `parts` are checks shown by /health beside the log's own, by name (`sink`, `consumer`).

    `orders` is None where the gateway takes none.

    `on_shutdown` is awaited in the server's event loop after the last answer: the place to close the publisher.
    """
    closing = asyncio.Event()
    events = PublishingEndpoint(
        publish,
        catalog.names,
        max_body_bytes=settings.max_body_bytes,
        body_idle_s=settings.body_idle_s,
        max_events=settings.max_events,
        origins=settings.cors_origins,
    )
    ordering = OrderingEndpoint(
        orders,
        max_body_bytes=settings.max_body_bytes,
        body_idle_s=settings.body_idle_s,
        origins=settings.cors_origins,
    )
    live = LiveEndpoints(observer, clock.monotonic, closing)
    health = HealthEndpoints(publish.check, parts or {}, clock.monotonic)
    pages = PageEndpoints(
        catalog,
        max_events=settings.max_events,
        max_body_bytes=settings.max_body_bytes,
        orders=None if orders is None else orders.event_type,
    )

    async def post_events(request: Request) -> Response:
        return await events(request)

    async def post_order(request: Request) -> Response:
        return await ordering(request)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            closing.set()
            live.stop()
            health.stop()
            ordering.stop()
            await on_shutdown()

    app = Starlette(
        routes=[
            Route("/v1/events/{event_type}", post_events, methods=["POST"]),
            Route("/v1/events", post_events, methods=["POST"]),
            Route("/v1/orders", post_order, methods=["POST"]),
            Route("/v1/status", live.status),
            Route("/v1/stream", live.stream),
            Route("/health/live", health.live),
            Route("/health/ready", health.ready),
            Route("/health", health.all),
            Route("/openapi.json", pages.openapi),
            Route("/docs", pages.docs),
            Route("/", pages.home),
        ],
        middleware=_cors(settings.cors_origins),
        exception_handlers={
            ProblemError: on_problem,
            HTTPException: on_http_error,
            ClientDisconnect: _nobody_there,
            Exception: on_bug,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.closing = closing
    return app


def begin_shutdown(app: Starlette) -> None:
    """End the streams of open pages. For the server, before it waits for requests to end."""
    app.state.closing.set()


def _cors(origins: tuple[str, ...]) -> list[Middleware]:
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type", "Content-Encoding", KEY_HEADER],
            expose_headers=[REPEATED_HEADER],
            max_age=3600,
        )
    ]


async def _nobody_there(_request: Request, _error: Exception) -> Response:
    """The client went away in the middle of its request: there is nobody to answer, and nothing was done."""
    return Response(status_code=400)
