"""Gateways and consumers as processes of their own, that can be killed, frozen and started again."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Self

from tests.e2e.pipeline import DEADLINE_S, FLOWGUARD, Installation, rows_of, variables, wait_until
from tests.faults.traffic import Traffic

SHORT_SESSION = {"kafka__session_timeout_ms": "6000", "kafka__heartbeat_interval_ms": "1000"}
"""Settings of a consumer that is out of its group after so much silence: the least that is allowed by default."""

_SHOWN = 12_000
"""Characters of each process's output that a test that failed shows, from the end."""


class Service:
    """`flowguard ...` as one process at a time; what all of its lives say goes to one file.

    `settings` are its own, beside those of the installation.
    """

    def __init__(self, home: Installation, name: str, *arguments: str, **settings: str) -> None:
        self.name = name
        self._home = home
        self._arguments = arguments
        self._environment = home.environment | variables(settings)
        self._file = home.folder / f"{name}.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._born = 0
        self.wanted = False
        """It was started, and nobody has ended it since: it has to run."""

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        """What it said, in all its lives."""
        return self._file.read_bytes().decode(errors="replace")

    @property
    def said(self) -> str:
        """What it said in this life."""
        return self._file.read_bytes()[self._born :].decode(errors="replace")

    def start(self) -> Self:
        """Returns at once."""
        assert not self.running, f"{self.name} runs already"
        with self._file.open("ab") as output:
            self._born = output.tell()
            # A session of its own: what it starts itself can be killed with it.
            self._process = subprocess.Popen(
                [FLOWGUARD, *self._arguments],
                cwd=self._home.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.wanted = True
        return self

    def wait_said(self, text: str, times: int = 1, deadline_s: float = DEADLINE_S) -> None:
        """Until it has said it in this life; fails at once where it ended."""

        def met() -> bool:
            assert self.running, f"{self.name} ended by itself: {self.said[-2000:]}"
            return self.said.count(text) >= times

        wait_until(met, f"{self.name} said {text!r} {times} times", deadline_s)

    def kill(self) -> None:
        """SIGKILL; fails if it did not run."""
        assert self._end(signal.SIGKILL) == -signal.SIGKILL

    def freeze(self) -> None:
        """SIGSTOP; returns when the system holds it."""
        os.kill(self.pid, signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), status

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM; fails unless it ran, finishes what is under way, and exits 0."""
        assert self._end(signal.SIGTERM) == 0, self.said[-2000:]

    def destroy(self) -> None:
        """It, and whatever it started, goes without a word."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait(DEADLINE_S)

    def _end(self, number: signal.Signals) -> int:
        assert self.running, f"{self.name} ended by itself: {self.said[-2000:]}"
        self.wanted = False
        os.kill(self.pid, number)
        assert self._process is not None
        return self._process.wait(DEADLINE_S)


class Deployment(Installation):
    """Processes around one log and one warehouse. Leaving the `with` ends them and prints what they said.

    `settings` are those of every process.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, **settings)
        self.services: dict[str, Service] = {}

    def __enter__(self) -> Self:
        migrated = self.run("migrate")
        assert migrated.returncode == 0, migrated.stdout + migrated.stderr
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.services.values():
            service.destroy()
        for service in self.services.values():
            print(f"---- {service.name}\n{service.output[-_SHOWN:]}")  # pytest shows it for a test that failed

    def consumer(self, name: str, *arguments: str, **settings: str) -> Service:
        """One that has just been started: nothing is known of it yet."""
        return self._started(name, "consume", *arguments, **settings)

    def gateway(self) -> str:
        """The URL of a new one that takes events."""
        service = self._started("gateway", "gateway", "--port", "0", "--json")
        service.wait_said("}\n")
        banner, _ = json.JSONDecoder().raw_decode(service.said, service.said.index("{\n"))
        return str(banner["url"])

    def landed(self) -> int:
        """How many clicks there are in the warehouse now."""
        with rows_of(self.warehouse) as connection:
            (rows,) = connection.execute("SELECT count(*) FROM clicks").fetchone()
        return int(rows)

    def positions_of(self, consumer: Service) -> dict[int, int]:
        """The partitions of clicks whose owner, for the sink, is this process; how far each has landed, from 0 on."""
        with rows_of(self.warehouse) as connection:
            return dict(
                connection.execute(
                    "SELECT partition, coalesce(next_offset, 0) FROM fg_positions"
                    " WHERE topic = 'raw.clicks.v1' AND owner LIKE ?",
                    (f"%:{consumer.pid}",),
                )
            )

    @contextmanager
    def warehouse_locked(self) -> Iterator[None]:
        """Nothing can be written there meanwhile; who tries waits."""
        with closing(sqlite3.connect(self.warehouse, isolation_level=None, timeout=DEADLINE_S)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def settle(self, *traffic: Traffic) -> None:
        """End the traffic, wait until all has landed, and stop: what was accepted is there, each of it once.

        Whatever was started, and not ended by the test, has to run still.
        """
        for one in traffic:
            one.finish()
        accepted = set[str]().union(*(one.accepted for one in traffic))
        answers = sum((one.answers for one in traffic), Counter[int]())
        self.wait_landed()
        for service in self.services.values():
            if service.wanted:
                service.stop()
        audited = self.command("audit")
        clicks = audited["streams"]["clicks"]
        assert audited["ok"], audited
        assert clicks["in_flight"] == clicks["dead_lettered"] == clicks["filtered"] == 0, clicks
        with rows_of(self.warehouse) as connection:
            rows = Counter(event_id for (event_id,) in connection.execute("SELECT event_id FROM clicks"))
            garbled = connection.execute("SELECT * FROM clicks WHERE user_id <> 'user of ' || event_id").fetchall()
        assert accepted - rows.keys() == set(), "lost"
        assert [event_id for event_id, count in rows.items() if count > 1] == [], "doubled"
        assert rows.keys() - accepted == set(), "from nowhere"
        assert garbled == []
        print(f"{len(rows)} landed, {clicks['duplicates']} absorbed; answers: {dict(answers)}")

    def _started(self, name: str, *arguments: str, **settings: str) -> Service:
        assert name not in self.services
        self.services[name] = Service(self, name, *arguments, **settings)
        return self.services[name].start()
