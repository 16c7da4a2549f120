"""Relays of a real outbox into a log in memory, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing

import psycopg

from flowguard.adapters.memory import MemoryEventPublisher, MemoryLog
from flowguard.adapters.postgres import PostgresOrderRepository, PostgresOutbox
from flowguard.adapters.system import RecordingTelemetry, SystemClock
from flowguard.application.outbox_relay import OutboxPace, OutboxPorts, OutboxRelay
from flowguard.domain.cloudevents import event_of
from flowguard.domain.errors import RetryPolicy
from tests.builders import ORDERS
from tests.contracts.order_case import message, order

JOIN_S = 30.0


class Relays:
    """A log, and relays into it. `stop` ends them; what one of them died of is raised then."""

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self.log = MemoryLog()
        self.log.ensure({ORDERS.topic: 1})
        self.telemetry = RecordingTelemetry()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._died_of: list[BaseException] = []

    def start(self, *, batch: int = 500, poll_s: float = 0.2) -> None:
        relay = OutboxRelay(
            OutboxPorts(
                PostgresOutbox(self.url, timeout_s=self.timeout_s),
                MemoryEventPublisher(self.log),
                SystemClock(),
                self.telemetry,
            ),
            retry=RetryPolicy(initial_s=0.01, cap_s=0.2),
            jitter=lambda: 1.0,
            pace=OutboxPace(batch=batch, poll_s=poll_s),
        )

        def run() -> None:
            try:
                relay.run(self._stop)
            except BaseException as error:  # noqa: BLE001  # told by stop
                self._died_of.append(error)

        thread = threading.Thread(target=run, name=f"relay-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(JOIN_S)
            assert not thread.is_alive(), f"{thread.name} does not end"
        if self._died_of:
            raise self._died_of[0]

    @property
    def logged(self) -> list[str]:
        """Event ids as the log has them, those that came twice too."""
        (partition,) = self.log.topic(ORDERS.topic).partitions
        return [
            event_of((), value).id for run in partition.read(0, partition.next_offset, 1 << 30) for value in run.values
        ]

    @property
    def first_seen(self) -> list[str]:
        """As the sink takes them: each once, where it came first."""
        return list(dict.fromkeys(self.logged))


def place(orders: PostgresOrderRepository, names: Sequence[str]) -> None:
    for one in names:
        orders.place(order(one, event_id=one), message(one), None)


def end_leader(url: str) -> int:
    """End the session that has the lead; how many there were: 1, or 0."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        found = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND classid = 26215 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone()
    assert found is not None
    return int(found[0])
