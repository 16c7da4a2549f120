"""Bookkeeping of what is tried again: how often it failed in a row, and when it is due."""

from __future__ import annotations

from collections.abc import Callable

from flowguard.domain.errors import RetryPolicy
from flowguard.domain.telemetry import AttemptFailed, Recovered
from flowguard.ports.clock import Clock
from flowguard.ports.telemetry import Telemetry


class Attempts:
    """Kinds of work by name (write, claim, commit, read); tells the telemetry of failures and of recovery."""

    def __init__(self, retry: RetryPolicy, jitter: Callable[[], float], clock: Clock, telemetry: Telemetry) -> None:
        self._retry = retry
        self._jitter = jitter
        self._clock = clock
        self._telemetry = telemetry
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._failed_at: dict[str, float] = {}

    def failed(self, what: str, error: Exception, *, hold: bool = True) -> None:
        """It failed; with `hold`, it is not due before the policy's delay."""
        attempt = self._failures.get(what, 0)
        self._failures[what] = attempt + 1
        self._failed_at[what] = self._clock.monotonic()
        if hold:
            self._not_before[what] = self._clock.monotonic() + self._retry.delay_s(attempt, self._jitter())
        self._telemetry.emit(AttemptFailed(what, f"{type(error).__name__}: {error}", attempt + 1))

    def succeeded(self, what: str) -> None:
        self._not_before.pop(what, None)
        attempts = self._failures.pop(what, 0)
        if attempts:
            self._telemetry.emit(Recovered(what, attempts))

    def calm(self, what: str) -> bool:
        """It has not failed for longer than any pause: then even a try that brings nothing is a success."""
        at = self._failed_at.get(what)
        return at is None or self._clock.monotonic() - at > self._retry.cap_s

    def due(self, what: str) -> bool:
        """May it be tried now? Trying clears the delay, so that only a new failure holds it again."""
        at = self._not_before.get(what)
        if at is not None and at > self._clock.monotonic():
            return False
        self._not_before.pop(what, None)
        return True

    def due_at(self, what: str) -> float | None:
        """When it may be tried again; None: now."""
        return self._not_before.get(what)
