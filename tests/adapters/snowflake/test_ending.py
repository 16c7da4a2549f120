"""How a process ends that has used Snowflake."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.servers.snowflake import running_snowflake

pytestmark = [pytest.mark.snowflake, pytest.mark.slow]

_PROGRAM = """
import sys
from flowguard.adapters.snowflake.database import Database

databases = [Database(sys.argv[1], idle_s=float(sys.argv[2])) for _ in range(4)]
for one in databases:
    with one.transaction() as session:
        session.rows("SELECT 1")
print("connected", flush=True)
sys.stdin.readline()
for one in databases:
    one.close()
"""


@pytest.mark.parametrize("idle_s", [60.0, 0.01], ids=["in silence", "while it is asked"])
def test_a_process_ends_soon_beside_a_server_that_hangs(tmp_path: Path, idle_s: float) -> None:
    with running_snowflake(tmp_path) as server:
        program = [sys.executable, "-c", _PROGRAM, server.url, str(idle_s)]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "connected\n"
            server.suspend_all()
            began = time.monotonic()
            process.communicate("go\n", timeout=30)
            took = time.monotonic() - began
        server.resume_all()
    assert process.returncode == 0
    assert took < 6  # all connections together, not one after another
