"""One thread beside the polling one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from flowguard.application.worker import Outcome, ThreadWorker
from tests.application.ingesting import DEADLINE_S, Gate


@pytest.fixture
def worker() -> Iterator[ThreadWorker]:
    made = ThreadWorker("tested")
    yield made
    made.close()
    assert made.join(DEADLINE_S)


def task(do: Callable[[], None]) -> Callable[[], Outcome]:
    """Its work is done on the worker's thread, its outcome on the one that takes it."""

    def run() -> Outcome:
        do()
        return lambda: None

    return run


def taken(worker: ThreadWorker, timeout_s: float = DEADLINE_S) -> Outcome:
    outcome = worker.take(timeout_s)
    assert outcome is not None
    return outcome


def test_tasks_run_one_after_the_other_in_order_beside_the_caller(worker: ThreadWorker) -> None:
    ran: list[tuple[int, str]] = []
    for number in range(100):
        worker.submit(task(lambda number=number: ran.append((number, threading.current_thread().name))))  # type: ignore[misc]
    for _ in range(100):
        taken(worker)
    assert ran == [(number, "tested") for number in range(100)]


def test_an_outcome_is_for_the_thread_that_takes_it(worker: ThreadWorker) -> None:
    told: list[str] = []
    worker.submit(lambda: lambda: told.append(threading.current_thread().name))
    outcome = taken(worker)
    assert told == []
    outcome()
    assert told == [threading.current_thread().name]


def test_pending_counts_what_was_not_taken(worker: ThreadWorker) -> None:
    gate = Gate()
    worker.submit(task(gate))
    worker.submit(task(lambda: None))
    gate.until_reached()
    assert (worker.pending, worker.take(0.0), worker.take(0.001)) == (2, None, None)

    gate.open()
    taken(worker)
    assert worker.pending == 1
    taken(worker)
    assert worker.pending == 0
    assert worker.take(0.0) is None


def test_what_was_submitted_before_close_ends_and_nothing_after_it_begins() -> None:
    worker = ThreadWorker("tested")
    ran: list[str] = []
    gate = Gate()
    worker.submit(task(gate))
    worker.submit(task(lambda: ran.append("before")))
    worker.close()
    worker.close()
    worker.submit(task(lambda: ran.append("after")))
    assert not worker.join(0.0)

    gate.open()
    assert worker.join(DEADLINE_S)
    assert ran == ["before"]


def test_a_task_that_hangs_does_not_keep_the_process_from_ending() -> None:
    worker = ThreadWorker("tested")
    gate = Gate()
    worker.submit(task(gate))
    gate.until_reached()
    [thread] = [one for one in threading.enumerate() if one.name == "tested"]
    assert thread.daemon
    gate.open()
    worker.close()
    assert worker.join(DEADLINE_S)


def test_what_a_task_raises_against_its_promise_is_raised_by_its_outcome(worker: ThreadWorker) -> None:
    def broken() -> Outcome:
        raise SystemExit("a panic")

    worker.submit(broken)
    worker.submit(task(lambda: None))
    outcome = taken(worker)
    with pytest.raises(SystemExit, match="a panic"):
        outcome()
    taken(worker)()
