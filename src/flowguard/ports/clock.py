"""Clock: the only way to ask for the time."""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for people, that may be set back, and one for waiting, that never goes back."""

    @abstractmethod
    def now(self) -> datetime:
        """Wall-clock time: aware, UTC."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never decreases."""
