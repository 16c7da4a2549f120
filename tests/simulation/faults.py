"""Which faults are due, which fired, and which found nobody to happen to."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from tests.simulation.plan import Fault
from tests.simulation.scheduler import Scheduler


@dataclass(slots=True)
class _Window:
    until: float
    met: bool = False


class Faults:
    """Armed faults wait for their effect; windows last for a while. Every planned fault ends as fired or as unfired."""

    def __init__(self, scheduler: Scheduler, trace: list[tuple[object, ...]]) -> None:
        self.fired: Counter[str] = Counter()
        self.unfired: Counter[str] = Counter()
        self._scheduler = scheduler
        self._trace = trace
        self._armed: dict[str, deque[Fault]] = {}
        self._windows: dict[str, _Window] = {}

    def arm(self, fault: Fault) -> None:
        self._armed.setdefault(fault.kind, deque()).append(fault)

    def take(self, kind: str) -> Fault | None:
        """The armed fault that happens now, if there is one."""
        waiting = self._armed.get(kind)
        if not waiting:
            return None
        self.happened(kind)
        return waiting.popleft()

    def open(self, fault: Fault) -> None:
        self._close(fault.kind)
        self._windows[fault.kind] = _Window(self._scheduler.now + fault.lasts_s)

    def during(self, kind: str) -> bool:
        """Is this window open? Asking means to meet it."""
        window = self._windows.get(kind)
        if window is None or self._scheduler.now >= window.until:
            return False
        if not window.met:
            window.met = True
            self.happened(kind)
        return True

    def happened(self, kind: str) -> None:
        self.fired[kind] += 1
        self._trace.append((round(self._scheduler.now, 6), "fault", kind))

    def end(self) -> None:
        """Nothing more happens."""
        for kind, waiting in self._armed.items():
            self.unfired[kind] += len(waiting)
            waiting.clear()
        for kind in tuple(self._windows):
            self._close(kind)

    def _close(self, kind: str) -> None:
        window = self._windows.pop(kind, None)
        if window is not None and not window.met:
            self.unfired[kind] += 1
