"""For tests and benchmarks: brokers that do not outlive them, however they end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowguard.entrypoints.dev.kafka import KafkaCluster


@contextmanager
def ending_with_this_process(folder: Path) -> Iterator[None]:
    """Stop the cluster of this folder on leaving, and also when this process is killed meanwhile."""
    # Its standard input ends when this process closes it, or is no more.
    guard = subprocess.Popen(  # noqa: S603  # this very module
        [sys.executable, "-m", __name__, str(folder.absolute())], stdin=subprocess.PIPE, start_new_session=True
    )
    with guard:
        yield


if __name__ == "__main__":
    sys.stdin.read()
    KafkaCluster(Path(sys.argv[1])).stop()
