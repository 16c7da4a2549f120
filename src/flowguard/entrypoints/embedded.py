"""A whole pipeline inside your own service: publish, ingest in the background, read rows back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from flowguard.container import Container
from flowguard.entrypoints.consumer import Consumer
from flowguard.settings import Settings

if TYPE_CHECKING:
    from flowguard.application.observe import Observer, Status
    from flowguard.application.publish import Publish, PublishReport
    from flowguard.domain.catalog import Catalog


class Embedded:
    """Enter it with `async with`: tables and topics are made, and a consumer runs in a thread until it is left.

    What it does not have, its `container` has: every port and use case, by name. Raises ConfigurationError when
    entered, where a setting has to be mended first.
    """

    def __init__(self, catalog: Catalog | None = None, settings: Settings | None = None) -> None:
        given = {} if catalog is None else {"catalog": catalog}
        self.container = Container(settings=settings or Settings(), **given)
        self.consumer = Consumer(self.container.ingestion)
        self._leaving = AsyncExitStack()

    async def __aenter__(self) -> Self:
        container = self.container
        self._leaving.enter_context(container.closing())
        try:
            await asyncio.to_thread(container.migrate)
            container.event_log().ensure(container.topics())
            publisher = container.publisher()
            self._leaving.push_async_callback(publisher.close)
            self._publish: Publish = container.publish(publisher=publisher)
            self._observer: Observer = container.observer()
        except BaseException:
            await self._leaving.aclose()
            raise
        self.consumer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain: what was accepted and has not landed within `settings.drain_s` lands after the next start."""
        self.consumer.stop()
        await asyncio.to_thread(self.consumer.join, self.container.settings().drain_s + 1)
        await self._leaving.aclose()

    async def publish(self, events: Sequence[object], event_type: str | None = None) -> PublishReport:
        """Log the events; returns when they would survive a power cut. See `application.publish.Publish.publish`."""
        return await self._publish.publish(events, event_type)

    def recent(
        self, stream: str | None = None, limit: int = 20, where: Mapping[str, str] | None = None
    ) -> Sequence[Mapping[str, object]]:
        """Rows that landed last, newest first. Callable from any thread. See `application.observe.Observer.recent`."""
        return self._observer.recent(stream, limit, where)

    def status(self) -> Status:
        """What was logged and landed, and the lag, by stream. Callable from any thread."""
        return self._observer.status()
