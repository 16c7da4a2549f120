"""What a process of FlowGuard's own asks of the interpreter. A service that embeds the library decides for itself."""

from __future__ import annotations

import gc
import sys

_SWITCH_S = 0.001
_THRESHOLDS = (100_000, 50, 100)


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
