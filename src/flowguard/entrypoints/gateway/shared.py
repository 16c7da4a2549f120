"""Answers that many ask for and one is enough: computed off the event loop, at most about once a second."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

Job = Callable[[], None]


class CallThread:
    """Runs calls one after the other, always in the same thread, for coroutines that wait for them.

    A daemon, so that a sink which hangs for ever cannot keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._started = False

    async def call(self, function: Callable[[], T]) -> T:
        """What the function returns or raises."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)  # type: ignore[arg-type]  # it is the function's, None or not
            else:
                future.set_exception(error)

        def job() -> None:
            result: T | None = None
            raised: BaseException | None = None
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001  # it belongs to who waits; the thread lives on
                raised = error
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, raised)

        self._jobs.put(job)
        return await future

    def stop(self) -> None:
        """End the thread, once what is under way has ended by itself. A later call starts another one."""
        if self._started:
            self._started = False
            self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class Shared(Generic[T]):
    """The latest value of `make`, made again when it is older than `max_age_s` and somebody asks.

    However many ask at once, it is made once; whoever stops waiting does not stop it for the others. What `make` raises
    is shared in the same way.
    """

    def __init__(
        self, make: Callable[[], Awaitable[T]], monotonic: Callable[[], float], max_age_s: float = 1.0
    ) -> None:
        self._make = make
        self._monotonic = monotonic
        self._max_age_s = max_age_s
        self._made_at = 0.0
        self._making: asyncio.Task[T | Exception] | None = None

    async def get(self) -> T:
        """The value. Raises what `make` raises."""
        old = self._making is not None and self._making.done() and self._age() >= self._max_age_s
        if self._making is None or old:
            self._making = asyncio.create_task(self._make_one())
        outcome = await asyncio.shield(self._making)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _age(self) -> float:
        return self._monotonic() - self._made_at

    async def _make_one(self) -> T | Exception:
        try:
            return await self._make()
        except Exception as error:  # noqa: BLE001  # handed on to everyone who asks
            return error
        finally:
            self._made_at = self._monotonic()
