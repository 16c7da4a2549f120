"""Simulated time: a queue of what happens when, and the clock that the code under test is given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count

from flowguard.ports.clock import Clock
from tests.simulation.errors import Violation

_EPOCH = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_SPINS = 5_000  # looks at the clock in one instant; real code that does this burns a processor


class Scheduler:
    """Runs what is due, in the order of time and, within an instant, in the order of scheduling."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        heappush(self._queue, (self.now + max(0.0, delay_s), next(self._numbers), do))

    def run_until(self, until: float, done: Callable[[], bool] | None = None) -> None:
        """Let the world go on until then, or until `done`. May be called from within what is run: whoever waits there
        goes on when what was begun meanwhile has ended, perhaps later than it wished, as on a busy machine.
        """
        queue = self._queue
        while done is None or not done():
            if not queue or queue[0][0] > until:
                self.now = max(self.now, until)
                return
            when, _, do = heappop(queue)
            self.now = max(self.now, when)
            do()


class SimClock(Clock):
    """Monotonic time is the scheduler's; the wall clock can be set back and forth."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.offset_s = 0.0
        self._scheduler = scheduler
        self._looked_at = -1.0
        self._looks = 0

    def now(self) -> datetime:
        return _EPOCH + timedelta(seconds=self._scheduler.now + self.offset_s)

    def now_ms(self) -> int:
        return int(self.now().timestamp() * 1_000)

    def monotonic(self) -> float:
        now = self._scheduler.now
        if now != self._looked_at:
            self._looked_at, self._looks = now, 0
        self._looks += 1
        if self._looks > _SPINS:
            raise Violation("no busy waiting", f"the clock was read {self._looks} times in one instant")
        return now
