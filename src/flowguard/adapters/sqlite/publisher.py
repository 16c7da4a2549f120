"""Publishing into the embedded log: one writer thread, and one flush to disk for all who wait."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flowguard.adapters.sqlite.appender import LogAppender
from flowguard.adapters.sqlite.database import BUSY_TIMEOUT_S, Database
from flowguard.adapters.sqlite.wakeup import bell_of
from flowguard.domain.errors import BackpressureError, FlowGuardError, TransientError
from flowguard.domain.ingestion import size_of
from flowguard.ports.publisher import EventPublisher, NewRecord, Receipt

_MIB = 1024 * 1024
_MOST_TOGETHER = 8 * _MIB
"""Bytes of one transaction: more would only make those wait who came first."""


@dataclass(frozen=True, slots=True)
class _Request:
    """A publish that waits for its receipt; with no topic, a check."""

    topic: str | None
    records: Sequence[NewRecord]
    size: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Receipt]


class SqliteEventPublisher(EventPublisher):
    """Appends to the log in one file. `max_bytes` is the size of the log, `max_queued_bytes` of what waits for it."""

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 4096 * _MIB,
        max_queued_bytes: int = 64 * _MIB,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self._database = Database(path, busy_timeout_s=busy_timeout_s)
        self._appender = LogAppender(self._database, max_bytes)
        self._bell = bell_of(path)
        self._max_queued_bytes = max_queued_bytes
        self._queue: deque[_Request] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    async def publish(self, topic: str, records: Sequence[NewRecord]) -> Receipt:
        size = size_of([one.value for one in records], [one.key for one in records], [one.headers for one in records])
        return await self._ask(topic, records, size)

    async def check(self) -> None:
        await self._ask(None, (), 0)

    async def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            await asyncio.to_thread(thread.join)
        self._database.close()

    async def _ask(self, topic: str | None, records: Sequence[NewRecord], size: int) -> Receipt:
        loop = asyncio.get_running_loop()
        request = _Request(topic, records, size, loop, loop.create_future())
        with self._changed:
            if self._closing:
                raise TransientError(f"{self._database.path}: this publisher is closed")
            if self._queued_bytes and self._queued_bytes + size > self._max_queued_bytes:
                raise BackpressureError(
                    f"{self._queued_bytes:,} bytes wait for the disk already; send it again in a second"
                )
            self._queue.append(request)
            self._queued_bytes += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="flowguard-log-writer", daemon=True)
                self._thread.start()
            self._changed.notify()
        return await request.future

    def _work(self) -> None:
        while group := self._next_group():
            answers: list[Receipt | BaseException]
            try:
                answers = self._carry_out(group)
            except BaseException as error:  # noqa: BLE001  # it belongs to those who wait; the thread lives on
                answers = [error] * len(group)
            _answer(group, answers)

    def _next_group(self) -> list[_Request]:
        """All that wait, up to a bound; empty when it is time to end."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            group: list[_Request] = []
            size = 0
            while self._queue and (not group or size + self._queue[0].size <= _MOST_TOGETHER):
                request = self._queue.popleft()
                size += request.size
                group.append(request)
            self._queued_bytes -= size
            return group

    def _carry_out(self, group: list[_Request]) -> list[Receipt | BaseException]:
        appends = [(one.topic, one.records) for one in group if one.topic is not None]
        receipts: list[Receipt | FlowGuardError] = []
        checked: Receipt | BaseException = Receipt("", ())
        if len(appends) < len(group):
            try:
                self._appender.check()
            except FlowGuardError as error:
                checked = error
        if appends:
            try:
                receipts = self._appender.append(appends)
                self._bell.ring()
            except FlowGuardError as error:
                receipts = [error] * len(appends)
        left = iter(receipts)
        return [checked if one.topic is None else next(left) for one in group]


def _answer(group: list[_Request], answers: Sequence[Receipt | BaseException]) -> None:
    """Resolve the futures, each in its own loop: one wake-up a loop, not one a request."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Receipt], Receipt | BaseException]]] = {}
    for request, answer in zip(group, answers, strict=True):
        loops.setdefault(request.loop, []).append((request.future, answer))
    for loop, resolved in loops.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_resolve, resolved)


def _resolve(resolved: list[tuple[asyncio.Future[Receipt], Receipt | BaseException]]) -> None:
    for future, answer in resolved:
        if future.done():  # whoever waited was cancelled
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
