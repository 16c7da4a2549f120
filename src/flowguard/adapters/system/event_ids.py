"""Event ids for producers that give none: UUIDs that sort by the time they were made."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock
from time import time_ns

_RANDOM_BITS = 74
_LOW_BITS = 62  # of them, those that stand after the variant


def _milliseconds() -> int:
    return time_ns() // 1_000_000


class Uuid7:
    """Makes UUIDv7 texts (RFC 9562, section 5.7), each greater than the one before, in this process.

    Within a millisecond, and when the clock is set back, the last random part counts up (section 6.2, method 2): so ids
    are monotonic whatever the clock does. Callable from any thread. `now_ms`: milliseconds since 1970 UTC.
    """

    def __init__(
        self, now_ms: Callable[[], int] = _milliseconds, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._now_ms = now_ms
        self._random_bytes = random_bytes
        self._lock = Lock()
        self._last_ms = -1
        self._random = 0

    def __call__(self) -> str:
        with self._lock:
            now_ms = self._now_ms()
            if now_ms > self._last_ms:
                self._last_ms = now_ms
                # The highest bit stays free: the count has room before it would overflow.
                self._random = int.from_bytes(self._random_bytes(10)) >> (80 - _RANDOM_BITS + 1)
            else:
                self._random += 1
                if self._random >> _RANDOM_BITS:
                    self._last_ms += 1
                    self._random = 0
            milliseconds, random = self._last_ms, self._random
        high = random >> _LOW_BITS
        low = random & ((1 << _LOW_BITS) - 1)
        text = f"{milliseconds << 80 | 7 << 76 | high << 64 | 2 << 62 | low:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
