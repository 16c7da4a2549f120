"""Gateways and consumers as processes of their own, that can be killed, frozen and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.e2e.pipeline import DEADLINE_S, FLOWGUARD, Installation, variables, wait_until
from tests.faults.saboteur import Step
from tests.faults.traffic import Traffic
from tests.faults.warehouses import SqliteWarehouse, Warehouse

SHORT_SESSION = {"kafka__session_timeout_ms": "6000", "kafka__heartbeat_interval_ms": "1000"}
"""Settings of a consumer that is out of its group after so much silence: the least that is allowed by default."""

_SHOWN = 12_000
"""Characters of each process's output that a test that failed shows, from the end."""


class Service:
    """A command as one process at a time; what all of its lives say goes to one file.

    `settings` are its own, beside those of the installation.
    """

    def __init__(self, home: Installation, name: str, command: Sequence[str | Path], **settings: str) -> None:
        self.name = name
        self._home = home
        self._command = command
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
                self._command,
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

    def wait_killed(self) -> None:
        """Until it has killed itself; fails if it ended in another way."""
        assert self._process is not None
        self.wanted = False
        assert self._process.wait(DEADLINE_S) == -signal.SIGKILL, self.said[-2000:]

    def freeze(self) -> None:
        """SIGSTOP; returns when the system holds it."""
        os.kill(self.pid, signal.SIGSTOP)
        self.wait_frozen()

    def wait_frozen(self) -> None:
        """Until the system holds it."""
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

    `settings` are those of every process. Without `tables` rows land in the embedded warehouse.
    """

    def __init__(self, folder: Path, tables: Warehouse | None, **settings: str) -> None:
        super().__init__(folder, **(tables.settings if tables else {}), **settings)
        self.tables = tables or SqliteWarehouse(self.warehouse)
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
        return self._started(name, [FLOWGUARD, "consume", *arguments], **settings)

    def sabotaged(self, name: str, act: signal.Signals, step: Step, times: int, **settings: str) -> Service:
        """A consumer that does this to itself when it has come to the step so many times."""
        saboteur = [sys.executable, "-P", "-m", "tests.faults.saboteur", act.name, step, str(times)]
        return self._started(name, [*saboteur, "consume"], **settings)

    def gateway(self, **settings: str) -> str:
        """The URL of a new one that takes events."""
        service = self._started("gateway", [FLOWGUARD, "gateway", "--port", "0", "--json"], **settings)
        service.wait_said("}\n")
        banner, _ = json.JSONDecoder().raw_decode(service.said, service.said.index("{\n"))
        return str(banner["url"])

    def fetch(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """What the warehouse says now; the query has a `?` for each value."""
        return self.tables.fetch(sql, *values)

    def landed(self) -> int:
        """How many clicks there are in the warehouse now."""
        ((rows,),) = self.fetch("SELECT count(*) FROM clicks")
        return int(rows)

    def wait_more(self, more: int) -> None:
        """Until so many more clicks have landed."""
        wanted = self.landed() + more
        wait_until(lambda: self.landed() >= wanted, f"{more} more clicks landed")

    def positions_of(self, consumer: Service) -> dict[int, int]:
        """The partitions of clicks whose owner, for the sink, is this process; how far each has landed, from 0 on."""
        return dict(
            self.fetch(
                "SELECT partition, coalesce(next_offset, 0) FROM fg_positions"
                " WHERE topic = 'raw.clicks.v1' AND owner LIKE ?",
                f"%:{consumer.pid}",
            )
        )

    def settle(self, *traffic: Traffic, refused: Callable[[str], bool] = lambda _: False) -> None:
        """End the traffic, wait until all has landed, and stop: what was accepted is there, each of it once.

        The events whose ids are `refused` by the warehouse are dead letters, and no others are. Whatever was started,
        and not ended by the test, has to run still.
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
        dead = {event_id for event_id in accepted if refused(event_id)}
        assert audited["ok"], audited
        assert clicks["in_flight"] == clicks["filtered"] == 0, clicks
        assert bool(clicks["dead_lettered"]) == bool(dead), clicks
        rows = Counter(event_id for (event_id,) in self.fetch("SELECT event_id FROM clicks"))
        garbled = self.fetch("SELECT * FROM clicks WHERE user_id <> 'user of ' || event_id")
        assert accepted - dead - rows.keys() == set(), "lost"
        assert [event_id for event_id, count in rows.items() if count > 1] == [], "doubled"
        assert rows.keys() - (accepted - dead) == set(), "from nowhere"
        assert garbled == []
        print(f"{len(rows)} landed, {clicks['duplicates']} absorbed; answers: {dict(answers)}")

    def _started(self, name: str, command: Sequence[str | Path], **settings: str) -> Service:
        assert name not in self.services
        self.services[name] = Service(self, name, command, **settings)
        return self.services[name].start()
