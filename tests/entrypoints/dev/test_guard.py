"""No broker of a test or a benchmark outlives it, whatever ends it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowguard.entrypoints.dev.kafka import KafkaCluster
from flowguard.entrypoints.dev.kafka_layout import Layout, choose_ports

# In place of a broker, something that runs as long, under its name.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from flowguard.entrypoints.dev.daemon import Daemon
from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.kafka import KafkaCluster

folder = Path(sys.argv[1])
with ending_with_this_process(KafkaCluster, folder):
    home = folder / "node-1"
    home.mkdir()
    mark = str(home / "server.properties")
    Daemon(home, mark).start([sys.executable, "-c", "import time; time.sleep(600)", mark])
    print(Daemon(home, mark).pid, flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("ends", "code"), [("by itself", 0), ("killed", -9)])
def test_a_broker_ends_with_the_program_that_guards_it(tmp_path: Path, ends: str, code: int) -> None:
    Layout.new(choose_ports(1, None, None, ())).write(tmp_path)
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path, ends], stdout=subprocess.PIPE, check=False)
    assert done.returncode == code
    assert int(done.stdout) > 0
    deadline = time.monotonic() + 30
    while KafkaCluster(tmp_path).nodes[0].pid is not None:
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.05)
