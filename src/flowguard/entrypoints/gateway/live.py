"""What goes on, for machines (GET /v1/status) and for the page (GET /v1/stream, server-sent events)."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
from starlette.responses import Response, StreamingResponse

from flowguard import __version__
from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.entrypoints.gateway.problems import unavailable
from flowguard.entrypoints.gateway.shared import CallThread, Shared

if TYPE_CHECKING:
    from starlette.requests import Request

_RECENT = 20
_PACE_S = 1.0
_LONGEST_PAYLOAD = 400
_NO_STORE = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class PipelineObserver(Protocol):
    """Reads the pipeline's state. Sync; called from one thread only, and not that of the event loop."""

    @abstractmethod
    def status(self) -> Mapping[str, object]:
        """What `flowguard status --json` prints. Raises TransientError, ConfigurationError."""

    @abstractmethod
    def recent(self, stream: str | None = None, limit: int = 20) -> Sequence[Mapping[str, object]]:
        """Rows that landed last, newest first, of one stream or of all; column names in lower case. Raises as above."""


class LiveEndpoints:
    """However many pages are open, the figures are read once a second at most, and not at all when none is.

    `closing` ends every stream, so that an open page does not hold a shutdown up.
    """

    def __init__(self, observer: PipelineObserver, monotonic: Callable[[], float], closing: asyncio.Event) -> None:
        self._observer = observer
        self._closing = closing
        self._thread = CallThread("flowguard-status")
        self._status = Shared(lambda: self._thread.call(self._read_status), monotonic, _PACE_S)
        self._page = Shared(lambda: self._thread.call(self._read_page), monotonic, _PACE_S)

    async def status(self, _request: Request) -> Response:
        """The figures as JSON; 503 while they cannot be read."""
        try:
            body = await self._status.get()
        except (TransientError, ConfigurationError) as error:
            return unavailable(error)
        return Response(body, media_type="application/json", headers=_NO_STORE)

    async def stream(self, _request: Request) -> Response:
        """The same, with the last events, each second; `trouble` says why there are none."""
        return StreamingResponse(self._frames(), media_type="text/event-stream", headers=_NO_STORE)

    def stop(self) -> None:
        """Let the thread end."""
        self._thread.stop()

    async def _frames(self) -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n"
        closing = asyncio.create_task(self._closing.wait())
        frame: asyncio.Task[bytes] | None = None
        try:
            while not closing.done():
                frame = asyncio.create_task(self._frame())
                await asyncio.wait({frame, closing}, return_when=asyncio.FIRST_COMPLETED)
                if frame.done():
                    yield frame.result()
                    await asyncio.wait({closing}, timeout=_PACE_S)
        finally:
            closing.cancel()
            if frame is not None:
                frame.cancel()

    async def _frame(self) -> bytes:
        try:
            return b"event: status\ndata: " + await self._page.get() + b"\n\n"
        except (TransientError, ConfigurationError) as error:
            return b"event: trouble\ndata: " + _encode({"detail": str(error)}) + b"\n\n"

    def _read_status(self) -> bytes:
        return _encode(self._observer.status())

    def _read_page(self) -> bytes:
        rows = [_shown(row) for row in self._observer.recent(None, _RECENT)]
        return _encode({"version": __version__, **self._observer.status(), "recent": rows})


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


def _shown(row: Mapping[str, object]) -> dict[str, object]:
    """Of a row, what the page has room for."""
    payload = str(row.get("payload", ""))
    short = payload if len(payload) <= _LONGEST_PAYLOAD else payload[:_LONGEST_PAYLOAD] + "…"
    names = ("event_type", "event_id", "ingestion_id", "producer_service", "occurred_at", "ingested_at")
    return {**{name: row.get(name) for name in names}, "payload": short}
