"""Whether it is alive, whether it is ready, and how its parts are."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from flowguard import __version__
from flowguard.domain.errors import FlowGuardError
from flowguard.entrypoints.gateway.problems import NOT_READY, problem
from flowguard.entrypoints.gateway.shared import CallThread, Shared

if TYPE_CHECKING:
    from starlette.requests import Request

_log = logging.getLogger("flowguard.gateway")
_PATIENCE_S = 5.0
_PROBE_S = 0.2

Check = Callable[[], None] | Callable[[], Awaitable[None]]
"""Raises what is wrong with one part. One that is not a coroutine function runs in a thread, and may block."""

LOG = "log"
"""The part without which no event is taken: readiness is its check."""


class HealthEndpoints:
    """`log` decides on readiness; the other parts may be degraded while events are still taken."""

    def __init__(self, log: Check, parts: Mapping[str, Check], monotonic: Callable[[], float]) -> None:
        self._threads: list[CallThread] = []
        self._parts = {
            name: Shared(self._outcome(name, check), monotonic) for name, check in {LOG: log, **parts}.items()
        }

    async def live(self, _request: Request) -> Response:
        """200 as long as the process answers at all."""
        return _json({"status": "ok", "version": __version__})

    async def ready(self, _request: Request) -> Response:
        """200 when the log takes events now, else 503 with the reason. Says which other parts are degraded."""
        trouble = await self._parts[LOG].get()
        if trouble is not None:
            return problem(NOT_READY, f"{LOG}: {trouble}", {"Retry-After": "1"})
        others = {name: part for name, part in self._parts.items() if name != LOG}
        troubles = await asyncio.gather(*map(_soon, others.values()))
        degraded = {name: detail for name, detail in zip(others, troubles, strict=True) if detail is not None}
        told = {"degraded": degraded} if degraded else {}
        return _json({"status": "degraded" if degraded else "ok", "version": __version__, **told})

    async def all(self, _request: Request) -> Response:
        """Every part; 200 when events are taken (`ok`, `degraded`), else 503 (`unavailable`)."""
        troubles = await asyncio.gather(*(part.get() for part in self._parts.values()))
        parts = {
            name: {"status": "ok" if trouble is None else "degraded", "detail": trouble}
            for name, trouble in zip(self._parts, troubles, strict=True)
        }
        bad = [f"{name}: {trouble}" for name, trouble in zip(self._parts, troubles, strict=True) if trouble is not None]
        told: dict[str, object] = {"version": __version__, "parts": parts}
        if parts[LOG]["detail"] is not None:
            return problem(NOT_READY, "; ".join(bad), {"Retry-After": "1"}, told)
        return _json({"status": "degraded" if bad else "ok", **told})

    def stop(self) -> None:
        """Let the threads of the checks end."""
        for thread in self._threads:
            thread.stop()

    def _outcome(self, name: str, check: Check) -> Callable[[], Awaitable[str | None]]:
        """What is wrong with the part, or None; within a bounded time."""
        thread: CallThread | None = None
        if not inspect.iscoroutinefunction(check):
            thread = CallThread(f"flowguard-check-{name}")
            self._threads.append(thread)

        async def outcome() -> str | None:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    waiting = check() if thread is None else thread.call(check)
                    assert waiting is not None  # noqa: S101  # a coroutine, as was asked above
                    await waiting
            except TimeoutError:
                return f"no answer within {_PATIENCE_S:g} s"
            except FlowGuardError as error:
                return str(error)
            except Exception as error:  # noqa: BLE001  # a bug in one part must not hide the state of the others
                _log.exception("the check of %s failed", name)
                return f"{type(error).__name__}: {error}"
            return None

        return outcome


async def _soon(part: Shared[str | None]) -> str | None:
    """What is wrong with the part, said before a probe loses patience: one that hangs must not make it give us up."""
    try:
        async with asyncio.timeout(_PROBE_S):
            return await part.get()
    except TimeoutError:
        return f"no answer within {_PROBE_S:g} s"


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers={"Cache-Control": "no-store"})
