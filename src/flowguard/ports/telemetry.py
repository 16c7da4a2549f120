"""Telemetry: what happened, told once."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from flowguard.domain.telemetry import Happening


class Telemetry(Protocol):
    """Takes note of what happened. Callable from any thread; never raises; never waits for anything slow."""

    @abstractmethod
    def emit(self, happening: Happening) -> None:
        """Note it: a log line, a counter, a list in a test."""
