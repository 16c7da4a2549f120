from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.entrypoints.gateway import health
from tests.entrypoints.gateway.running import DEADLINE_S, running

if TYPE_CHECKING:
    import pytest


def test_all_is_well() -> None:
    with running(parts={"sink": lambda: None}) as gateway:
        assert gateway.get("/health/live").body["status"] == "ok"
        assert gateway.get("/health/ready").body["status"] == "ok"
        answer = gateway.get("/health")
        assert (answer.status, answer.body["status"]) == (200, "ok")
        assert answer.body["parts"] == {
            "log": {"status": "ok", "detail": None},
            "sink": {"status": "ok", "detail": None},
        }
        assert answer.body["version"]


def test_without_a_log_it_lives_but_is_not_ready() -> None:
    with running() as gateway:

        async def away() -> None:
            raise TransientError("the disk is full: make room in /data")

        gateway.desk.broken.inner.check = away  # type: ignore[method-assign]
        assert gateway.get("/health/live").status == 200
        ready = gateway.get("/health/ready")
        ready.check_problem(503, "not-ready")
        assert ready.body["detail"] == "log: the disk is full: make room in /data"
        assert ready.headers["retry-after"] == "1"
        whole = gateway.get("/health")
        whole.check_problem(503, "not-ready")
        assert whole.body["parts"]["log"]["status"] == "degraded"


def test_without_a_sink_events_are_still_taken_and_the_part_is_named() -> None:
    def down() -> None:
        raise ConfigurationError("the password is refused")

    async def fine() -> None:
        pass

    with running(parts={"sink": down, "consumer": fine}) as gateway:
        assert gateway.get("/health/ready").status == 200
        answer = gateway.get("/health")
        assert (answer.status, answer.body["status"]) == (200, "degraded")
        assert answer.body["parts"]["sink"] == {"status": "degraded", "detail": "the password is refused"}
        assert answer.body["parts"]["consumer"]["status"] == "ok"


def test_ready_says_which_part_is_degraded_and_stays_ready_for_events(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()

    def down() -> None:
        raise TransientError("the database is away")

    with running(parts={"orders": down, "sink": lambda: _ignore(let_go.wait(DEADLINE_S))}) as gateway:
        ready = gateway.get("/health/ready")
        assert (ready.status, ready.body["status"]) == (200, "degraded")
        assert ready.body["degraded"] == {"orders": "the database is away", "sink": "no answer within 0.2 s"}
        let_go.set()


def test_a_check_with_a_bug_is_a_part_that_is_degraded() -> None:
    def buggy() -> None:
        raise KeyError("x")

    with running(parts={"sink": buggy}) as gateway:
        answer = gateway.get("/health")
        assert answer.body["parts"]["sink"] == {"status": "degraded", "detail": "KeyError: 'x'"}


def test_a_check_that_hangs_is_told_in_bounded_time_and_hinders_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE_S", 0.05)
    let_go = threading.Event()
    with running(parts={"sink": lambda: _ignore(let_go.wait(DEADLINE_S))}) as gateway:
        answer = gateway.get("/health")
        assert answer.body["parts"]["sink"]["detail"] == "no answer within 0.05 s"
        gateway.check_alive()
        gateway.stop.set()
        gateway.thread.join(DEADLINE_S)
        assert not gateway.thread.is_alive()
        let_go.set()


def _ignore(_value: object) -> None:
    pass
