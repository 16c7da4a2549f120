from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowguard.adapters.system import SystemClock
from flowguard.ports.clock import Clock
from tests.contracts.clock import ClockContract


class TestSystemClock(ClockContract):
    adapter = SystemClock

    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()

    def test_it_tells_the_time_of_this_machine(self, clock: Clock) -> None:
        assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)
