"""Waking readers at once when a writer of the same process has appended. Other processes are noticed by polling."""

from __future__ import annotations

import threading
from pathlib import Path
from weakref import WeakValueDictionary


class Bell:
    """Counts its rings; a reader waits for the next one."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.rings = 0

    def ring(self) -> None:
        with self._condition:
            self.rings += 1
            self._condition.notify_all()

    def wait(self, heard: int, timeout_s: float) -> None:
        """Until it has rung more often than `heard`, or the timeout."""
        with self._condition:
            if self.rings == heard:
                self._condition.wait(timeout_s)


_bells: WeakValueDictionary[Path, Bell] = WeakValueDictionary()
_lock = threading.Lock()


def bell_of(path: Path) -> Bell:
    """The bell of this log file: the same one for everybody in this process."""
    with _lock:
        place = path.absolute()
        bell = _bells.get(place)
        if bell is None:
            bell = _bells[place] = Bell()
        return bell
