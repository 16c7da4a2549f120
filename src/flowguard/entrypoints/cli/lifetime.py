"""What the commands that stay have in common: how they are asked to stop, and where their log goes."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from flowguard.entrypoints.cli.options import ExitCode


@contextmanager
def stopped_by_signals(stop: Callable[[], None], leave: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Ctrl-C or SIGTERM asks to stop; the second one leaves at once: what was acknowledged is on disk already.

    Both are called from inside the handler: they set a flag, and no more. `leave` comes before the process ends.
    """
    asked = False

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            leave()
            os._exit(ExitCode.INTERRUPTED)
        asked = True
        # Not through logging: its lock may be held by the very code that this interrupts.
        os.write(2, f"{signal.Signals(number).name}: finishing what is under way; once more leaves at once\n".encode())
        stop()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start_logging(*, verbose: bool, worker: int | None = None) -> None:
    """One line a happening, on standard error; of a worker, with its number."""
    number = "" if worker is None else f"worker {worker}: "
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format=f"%(asctime)s %(levelname)-7s {number}%(message)s",
        stream=sys.stderr,
    )
    for name in ("asyncio", "uvicorn", "snowflake"):
        logging.getLogger(name).setLevel(logging.WARNING)
