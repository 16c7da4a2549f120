"""No server of a test or a benchmark outlives it, whatever ends it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowguard.entrypoints.dev.daemon import Daemon
from flowguard.entrypoints.dev.kafka_layout import Layout, choose_ports

# In place of a server, something that runs as long, under its name.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from flowguard.entrypoints.dev.daemon import Daemon
from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.kafka import KafkaCluster
from flowguard.entrypoints.dev.postgres import PostgresServer
from flowguard.entrypoints.dev.snowflake import SnowflakeServer

kind, folder, home, mark, ends = sys.argv[1:]
kinds = {"kafka": KafkaCluster, "postgres": PostgresServer, "snowflake": SnowflakeServer}
with ending_with_this_process(kinds[kind], Path(folder)):
    daemon = Daemon(Path(home), mark)
    daemon.start([sys.executable, "-c", "import time; time.sleep(600)", mark])
    print(daemon.pid, flush=True)
    if ends == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("ends", "code"), [("by itself", 0), ("killed", -9)])
@pytest.mark.parametrize("kind", ["kafka", "postgres", "snowflake"])
def test_a_server_ends_with_the_program_that_guards_it(tmp_path: Path, kind: str, ends: str, code: int) -> None:
    home, mark = tmp_path, f"flowguard.folder={tmp_path}/"
    if kind == "kafka":
        Layout.new(choose_ports(1, None, None, ())).write(tmp_path)
        home = tmp_path / "node-1"
        home.mkdir()
        mark = str(home / "server.properties")
    elif kind == "snowflake":
        mark = f"{tmp_path}/data/"
    command = [sys.executable, "-c", PROGRAM, kind, str(tmp_path), str(home), mark, ends]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    assert done.returncode == code
    assert int(done.stdout) > 0
    deadline = time.monotonic() + 30
    while Daemon(home, mark).pid is not None:
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.05)
