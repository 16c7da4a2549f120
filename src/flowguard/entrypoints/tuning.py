"""What a process of FlowGuard's own asks of the interpreter. A service that embeds the library decides for itself."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading

_SWITCH_S = 0.001
_THRESHOLDS = (100_000, 50, 100)
_TRIM_S = 1.0

_ARENA_MAX = -8
"""M_ARENA_MAX of glibc's malloc.h."""


def tune_interpreter() -> None:
    """Call once, when everything is imported.

    A batch makes thousands of short-lived objects without cycles, which the collector would look through again and
    again: it runs less often, and passes over what the start left behind (about a fifth of the CPU time, measured by
    `make bench`). Threads that come back from disk get the interpreter within a millisecond instead of five.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    sys.setswitchinterval(_SWITCH_S)
    _give_memory_back()


def _give_memory_back() -> None:
    """Have the C library return what was freed, every second; where it is glibc's.

    It would keep it: a Kafka client's many small allocations, in several threads, left 72 of 161 MiB behind.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    trim = getattr(library, "malloc_trim", None)
    if library is None or trim is None:
        return
    # What one thread frees in another one's arena stays there for long: two arenas, for two kinds of threads.
    library.mallopt(_ARENA_MAX, 2)

    def run() -> None:
        never = threading.Event()
        while not never.wait(_TRIM_S):
            trim(0)

    threading.Thread(target=run, name="flowguard-trim", daemon=True).start()
