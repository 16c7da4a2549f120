"""What may befall a PostgreSQL server under traffic: nothing is lost, nobody has to help, and nobody is blamed."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flowguard.entrypoints.dev.postgres import PostgresServer, StopMode
from tests.e2e.pipeline import wait_until
from tests.faults.conftest import ON_POSTGRES
from tests.faults.saboteur import Step
from tests.faults.services import Deployment
from tests.faults.traffic import Traffic
from tests.faults.warehouses import PostgresWarehouse
from tests.servers.postgres import running_postgres

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

OUTAGE_S = 60.0
COPYING = "FROM pg_stat_progress_copy WHERE datname = current_database() AND bytes_processed > 0"
SMALL_DISK = "160m"
SMALL = {"fsync": "off", "shared_buffers": "8MB", "min_wal_size": "32MB", "max_wal_size": "48MB"}


def test_restarted_and_killed_again_and_again(pipeline: Deployment, mortal_server: PostgresServer) -> None:
    consumer = pipeline.consumer("consumer")
    with Traffic(pipeline.gateway()) as traffic:
        failures = 0
        for mode in (StopMode.FAST, StopMode.IMMEDIATE, None) * 2:
            pipeline.wait_more(50)
            before = mortal_server.pid
            if mode is None:
                mortal_server.kill()
            else:
                mortal_server.stop(mode)
            failures += 1
            consumer.wait_said("Failed: ", times=failures)
            failures = consumer.said.count("Failed: ")
            mortal_server.start()
            assert mortal_server.pid != before
        pipeline.wait_more(50)
        pipeline.settle(traffic)


def test_stopped_for_a_minute(pipeline: Deployment, mortal_server: PostgresServer) -> None:
    pipeline.consumer("consumer")
    with Traffic(pipeline.gateway()) as traffic:
        pipeline.wait_more(50)
        mortal_server.stop()
        down = time.monotonic()
        traffic.wait_for(300)  # the gateway does not need it
        time.sleep(max(0.0, down + OUTAGE_S - time.monotonic()))
        mortal_server.start()
        outage_s = time.monotonic() - down
        pipeline.wait_more(300)
        pipeline.settle(traffic)
    assert outage_s >= OUTAGE_S
    assert traffic.answers.keys() == {202}


def test_the_backend_is_ended_in_the_middle_of_a_copy(pipeline: Deployment, warehouse: PostgresWarehouse) -> None:
    with Traffic(pipeline.gateway()) as traffic:
        for number in range(2):
            # It stands still after half of the rows, so that it is surely hit there.
            consumer = pipeline.sabotaged(f"consumer {number}", signal.SIGSTOP, Step.IN_COPY, 3)
            consumer.wait_frozen()
            wait_until(lambda: warehouse.fetch(f"SELECT type {COPYING}") == [("PIPE",)], "the server is in the COPY")
            landed = pipeline.landed()
            assert warehouse.fetch(f"SELECT pg_terminate_backend(pid) {COPYING}") == [(True,)]
            wait_until(lambda: warehouse.fetch(f"SELECT type {COPYING}") == [], "it is gone")
            assert pipeline.landed() == landed
            consumer.thaw()
            consumer.wait_said("Failed: write")
            consumer.wait_said("Works again: write")
            if number == 0:
                consumer.stop()
        pipeline.settle(traffic)


def test_a_backend_stands_still_between_two_batches(
    pipeline: Deployment, warehouse: PostgresWarehouse, mortal_server: PostgresServer
) -> None:
    """Another connection takes its place."""
    pipeline.consumer("consumer", sink_url=f"{warehouse.url}?application_name=consumer")
    with Traffic(pipeline.gateway()) as traffic:
        pipeline.wait_more(50)
        with suspended_while("idle", warehouse, mortal_server):
            pipeline.wait_more(50)
        pipeline.settle(traffic)


def test_a_backend_stands_still_in_a_batch(
    pipeline: Deployment, warehouse: PostgresWarehouse, mortal_server: PostgresServer
) -> None:
    """It keeps its locks, and cannot even be ended: the consumer says so, until it goes on."""
    consumer = pipeline.consumer("consumer", sink_url=f"{warehouse.url}?application_name=consumer")
    with Traffic(pipeline.gateway()) as traffic:
        pipeline.wait_more(50)
        with suspended_while("idle in transaction", warehouse, mortal_server):
            consumer.wait_said("Failed: write")
            consumer.wait_said("a lock was not to be had")
        pipeline.wait_more(50)
        pipeline.settle(traffic)


def test_the_whole_server_stands_still(pipeline: Deployment, mortal_server: PostgresServer) -> None:
    consumer = pipeline.consumer("consumer")
    with Traffic(pipeline.gateway()) as traffic:
        pipeline.wait_more(50)
        with suspended(mortal_server):
            consumer.wait_said("Failed: write", times=2)
        pipeline.wait_more(50)
        pipeline.settle(traffic)


def test_suspended_while_the_consumer_is_told_to_stop(
    pipeline: Deployment, warehouse: PostgresWarehouse, mortal_server: PostgresServer
) -> None:
    """It ends all the same, in order; the next one goes on."""
    consumer = pipeline.consumer("consumer", database_timeout_s="600", drain_s="1")
    with Traffic(pipeline.gateway()) as traffic:
        pipeline.wait_more(50)
        with suspended(mortal_server):
            traffic.wait_for(100)
            consumer.stop()
        pipeline.consumer("heir")
        pipeline.wait_more(50)
        pipeline.settle(traffic)


@pytest.mark.parametrize("everything", [False, True], ids=["of the tables", "of everything"])
def test_its_disk_is_full(tmp_path: Path, everything: bool) -> None:
    """Where there is no place for the server's own log either, it ends, and who looks after it starts it again."""
    with small_disk() as disk, running_small(tmp_path / "server", disk, everything) as server:
        warehouse = PostgresWarehouse(server.url)
        with Deployment(tmp_path, warehouse, **ON_POSTGRES) as deployment:
            consumer = deployment.consumer("consumer")
            with Traffic(deployment.gateway()) as traffic:
                deployment.wait_more(50)
                filler = disk / "filler"
                fill(filler)
                consumer.wait_said("Failed: write", times=3)
                if not everything:
                    consumer.wait_said("its disk is full; free some space there")
                    traffic.wait_for(300)
                filler.unlink()
                server.start()
                deployment.wait_more(300)
                deployment.settle(traffic)


@contextmanager
def running_small(folder: Path, disk: Path, everything: bool) -> Iterator[PostgresServer]:
    """A server that has its whole data there, or the tables of its database only."""
    with running_postgres(folder, SMALL, data=disk / "data" if everything else None) as server:
        if not everything:
            owner, tables = server.data.stat(), disk / "tables"
            tables.mkdir()
            os.chown(tables, owner.st_uid, owner.st_gid)
            PostgresWarehouse(server.superuser_url.replace("@/flowguard?", "@/postgres?")).execute(
                f"CREATE TABLESPACE small LOCATION '{tables}'", "ALTER DATABASE flowguard SET TABLESPACE small"
            )
        yield server


@contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of its own, where every user gets to; skips the test where this process may not have one."""
    folder = Path(tempfile.mkdtemp(prefix="flowguard-disk-"))
    folder.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        folder.rmdir()
        pytest.skip(f"a small disk cannot be mounted here, which takes root: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


def fill(file: Path) -> None:
    """Until nothing more goes on its disk."""
    with file.open("wb", buffering=0) as filler:
        for size in (1024 * 1024, 4096):
            try:
                while filler.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


@contextmanager
def suspended(server: PostgresServer) -> Iterator[None]:
    """The whole server."""
    server.suspend_all()
    try:
        yield
    finally:
        server.resume_all()


@contextmanager
def suspended_while(state: str, warehouse: PostgresWarehouse, server: PostgresServer) -> Iterator[None]:
    """A backend of the consumer, caught in this state; in a transaction, one that has written.

    One that only reads holds nothing that others would wait for.
    """

    def caught() -> bool:
        ((pid,),) = warehouse.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'consumer' ORDER BY state_change DESC LIMIT 1"
        )
        server.suspend(pid)
        found = warehouse.fetch("SELECT state, backend_xid IS NOT NULL FROM pg_stat_activity WHERE pid = ?", pid)
        if found == [(state, state != "idle")]:
            return True
        server.resume(pid)
        return False

    try:
        wait_until(caught, f"a backend is {state}")
        yield
    finally:
        server.resume_all()
