"""What every Clock must do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from flowguard.ports.clock import Clock


class ClockContract:
    """Set `adapter`, and give the fixture `clock`."""

    adapter: ClassVar[type[Clock]]

    @pytest.fixture
    def clock(self) -> Clock:
        raise NotImplementedError("the subclass makes a clock")

    def test_the_wall_clock_is_aware_and_in_utc(self, clock: Clock) -> None:
        assert isinstance(clock, self.adapter)
        now = clock.now()
        assert isinstance(now, datetime)
        assert now.tzinfo is UTC
        assert now.utcoffset() == timedelta(0)

    def test_the_other_clock_never_goes_back(self, clock: Clock) -> None:
        times = [clock.monotonic() for _ in range(1_000)]
        assert times == sorted(times)
        assert all(isinstance(one, float) for one in times)
