"""What ends a simulated process, and what ends a simulation.

Neither is an Exception: the code under test catches those, and must not catch these.
"""

from __future__ import annotations


class Crash(BaseException):
    """The process is gone, in the midst of what it was doing."""


class Violation(BaseException):  # what the oracle found; not an error of the simulation
    """The code under test broke a promise. `rule` is the invariant of the design, or what else was promised."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
