"""The clocks of this machine."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from flowguard.ports.clock import Clock


class SystemClock(Clock):
    """The wall clock and the monotonic clock of the operating system."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
