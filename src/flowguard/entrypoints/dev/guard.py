"""For tests and benchmarks: servers that do not outlive them, however they end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowguard.entrypoints.dev.kafka import KafkaCluster
from flowguard.entrypoints.dev.postgres import PostgresServer
from flowguard.entrypoints.dev.snowflake import SnowflakeServer

_KINDS: dict[str, type[KafkaCluster | PostgresServer | SnowflakeServer]] = {
    kind.__name__: kind for kind in (KafkaCluster, PostgresServer, SnowflakeServer)
}


@contextmanager
def ending_with_this_process(
    kind: type[KafkaCluster | PostgresServer | SnowflakeServer], folder: Path
) -> Iterator[None]:
    """Stop the server of this folder on leaving, and also when this process is killed meanwhile."""
    # Its standard input ends when this process closes it, or is no more.
    guard = subprocess.Popen(  # noqa: S603  # this very module
        [sys.executable, "-m", __name__, kind.__name__, str(folder.absolute())],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    with guard:
        yield


if __name__ == "__main__":
    sys.stdin.read()
    _KINDS[sys.argv[1]](Path(sys.argv[2])).stop()
