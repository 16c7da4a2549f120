"""A client as a shop would have it: it sends the same events, with the same ids, until a 202 says they are safe."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from random import Random

PAUSE_S = 0.01
ANSWER_S = 10.0


class PersistentClient:
    """Posts batches from a thread of its own, one after the other, as fast as they are answered.

    `accepted` has the ids of the events, by event type, that a 202 said yes to. `happened` counts answers by status,
    requests that nobody took (`refused`), and those that were on their way when the connection broke (`broken`).
    """

    def __init__(self, name: str, port: int) -> None:
        self.accepted: dict[str, set[str]] = {"clicks": set(), "orders": set()}
        self.happened: Counter[str] = Counter()
        self.trouble: str | None = None
        self._name = name
        self._random = Random(name)
        self._connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Send nothing new, and see the last batch through."""
        self._stop.set()
        self._thread.join(timeout_s)
        self._connection.close()
        assert not self._thread.is_alive(), f"{self._name} is still without an answer"
        assert self.trouble is None, self.trouble

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set() and self.trouble is None:
            batch = [self._event(f"{self._name}-{number + at}") for at in range(self._random.randint(1, 40))]
            number += len(batch)
            self._see_through(batch)

    def _event(self, event_id: str) -> dict[str, object]:
        event: dict[str, object] = {"event_id": event_id, "user_id": f"user of {event_id}", "session_id": "s-1"}
        if self._random.random() < 0.7:
            return {**event, "event_type": "clicks", "item_id": 7, "ad_id": "ad-7"}
        lines = [{"item_id": 7, "quantity": 2, "unit_price": "4.25"}]
        order = {"order_id": event_id, "lines": lines, "currency": "EUR", "total": "8.50", "status": "created"}
        return {**event, "event_type": "orders", **order}

    def _see_through(self, batch: list[dict[str, object]]) -> None:
        body = json.dumps(batch).encode()
        while self.trouble is None:
            status, answer = self._post(body)
            if status == 202:
                self._note(batch, json.loads(answer)["results"])
                return
            if status not in {0, 503}:
                self.trouble = f"{self._name} was answered {status}: {answer[:500].decode()}"
            time.sleep(PAUSE_S)

    def _post(self, body: bytes) -> tuple[int, bytes]:
        """(status, answer), or status 0 where there was none."""
        try:
            self._connection.request("POST", "/v1/events", body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException) as error:
            self._connection.close()
            self.happened["refused" if isinstance(error, ConnectionRefusedError) else "broken"] += 1
            return 0, b""
        self.happened[str(response.status)] += 1
        return response.status, answer

    def _note(self, batch: list[dict[str, object]], results: list[dict[str, object]]) -> None:
        for event, result in zip(batch, results, strict=True):
            if result["event_id"] != event["event_id"] or result["verdict"] not in {"accepted", "duplicate"}:
                self.trouble = f"{self._name} sent {event} and was told {result}"
                return
            self.happened[str(result["verdict"])] += 1
            self.accepted[str(event["event_type"])].add(str(event["event_id"]))
