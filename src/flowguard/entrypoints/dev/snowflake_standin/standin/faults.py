"""Faults that tests set: refused logins, errors, cut connections, statements that stand still; and what was asked."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_POLL_S = 0.02


class ConnectionCutError(Exception):
    """Close the client's connection without an answer."""


@dataclass
class Fault:
    """`what` is "error", "cut_before" (nothing has happened), "cut_after" (it has), or "hold" (done, not committed).

    `at` is "login", "renew" (of a session's token), "heartbeat" or "query". It fires for what matches the regular
    expression, `times` times, or until lifted. A driver whose connection was cut sends its request again, under the
    same id: that is cut, too, and not counted, unless `again_answered`.
    """

    id: int
    what: str
    at: str = "query"
    matching: str = ""
    times: int | None = None
    errno: str = "000625"
    sqlstate: str | None = None
    message: str = "set by a test"
    again_answered: bool = False
    fired: int = 0
    standing: int = 0
    """How many statements it holds at this moment."""
    requests: set[str] = field(default_factory=set)
    lifted: threading.Event = field(default_factory=threading.Event)

    def shown(self) -> dict[str, Any]:
        """For the test that asks."""
        return {name: getattr(self, name) for name in ("id", "what", "at", "matching", "times", "fired", "standing")}


class Faults:
    """All that are set, and what was asked since the last reset. Safe for threads."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self._lock = threading.Lock()
        self._next = 1
        self._set: list[Fault] = []
        self._asked: list[dict[str, Any]] = []

    def add(self, content: dict[str, Any]) -> Fault:
        """Raises TypeError for a field that there is not, ValueError for a word that means nothing."""
        with self._lock:
            fault = Fault(id=self._next, **content)
            re.compile(fault.matching)
            if fault.what not in {"error", "cut_before", "cut_after", "hold"} or fault.at not in {
                "login",
                "renew",
                "heartbeat",
                "query",
            }:
                raise ValueError(f"no such fault: {fault.what} at {fault.at}")
            self._next += 1
            self._set.append(fault)
            return fault

    def lift(self, number: int | None = None) -> list[dict[str, Any]]:
        """One, or all of them; what they hold goes on."""
        with self._lock:
            lifted = [fault for fault in self._set if number in {None, fault.id}]
            self._set = [fault for fault in self._set if fault not in lifted]
        for fault in lifted:
            fault.lifted.set()
        return [fault.shown() for fault in lifted]

    def shown(self) -> list[dict[str, Any]]:
        with self._lock:
            return [fault.shown() for fault in self._set]

    def firing(self, what: str, at: str, text: str, request: str) -> Fault | None:
        """The first one that fires for this request; it counts that."""
        if not self.enabled:
            return None
        with self._lock:
            for fault in self._set:
                if (fault.what, fault.at) != (what, at):
                    continue
                if request in fault.requests and what.startswith("cut"):
                    if fault.again_answered:
                        continue
                    return fault
                spent = fault.times is not None and fault.fired >= fault.times
                if not spent and re.search(fault.matching, text, re.IGNORECASE | re.DOTALL):
                    fault.fired += 1
                    fault.requests.add(request)
                    return fault
        return None

    def hold(self, text: str, cancelled: Callable[[], bool], at: str = "query") -> None:
        """Stand still where a fault wants that, until it is lifted or the client cancels."""
        fault = self.firing("hold", at, text, "")
        if fault is None:
            return
        with self._lock:
            fault.standing += 1
        try:
            while not fault.lifted.wait(_POLL_S) and not cancelled():
                pass
        finally:
            with self._lock:
                fault.standing -= 1

    # -- what was asked -------------------------------------------------------------------------------------------

    def asked(self, session: int, at: str, text: str) -> None:
        """Note a request."""
        if self.enabled:
            with self._lock:
                self._asked.append({"session": session, "at": at, "text": text[:10_000]})

    def counted(self) -> dict[str, Any]:
        """Requests since the last reset: of each kind, of each session, and the texts' beginnings in their order."""
        with self._lock:
            return {
                "requests": len(self._asked),
                "by_session": Counter(str(one["session"]) for one in self._asked),
                "by_kind": Counter(one["at"] for one in self._asked),
                "asked": list(self._asked),
            }

    def reset(self) -> None:
        with self._lock:
            self._asked.clear()
