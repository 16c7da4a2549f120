"""Clicks without end: the shop's side of every fault."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from random import Random
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.e2e.pipeline import wait_until

PACE_S = 0.02
"""Between two requests: the faults are to be tested, not the speed of this machine."""
LARGEST = 20
AGAIN = 0.1
"""Of an insistent one's batches, so many come twice."""
WITHOUT_PAGE = ("-1000", "-2000")
"""Events whose ids end so have none: a warehouse that takes no NULL there refuses those few."""
SESSIONS = 211
"""Sessions are the keys: their clicks spread over all partitions."""
ANSWER_S = 90.0
"""More than a gateway holds a request while its log is away."""


class Traffic:
    """Posts batches of clicks from a thread of its own; each is sent again, with the same ids, until a 202 takes it.

    With `insistent`, some batches are sent once more after that: a gateway that remembers no ids logs them twice.

    `accepted` has the ingestion id that the answer named, by event id. `answers` counts statuses, and requests without
    an answer as 0. `retry_after` has what each 503 said, None where it said nothing.
    """

    def __init__(self, url: str, name: str = "shop", *, insistent: bool = False) -> None:
        self.accepted: dict[str, str] = {}
        self.answers: Counter[int] = Counter()
        self.retry_after: list[str | None] = []
        self._name = name
        self._insistent = insistent
        self._random = Random(name)
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_S)
        self._trouble: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._trouble = self._trouble or "broken off"
            self._thread.join(ANSWER_S)
        self._connection.close()

    def wait_for(self, more: int) -> None:
        """Until so many more events were accepted."""
        wanted = len(self.accepted) + more
        wait_until(lambda: self._fine() and len(self.accepted) >= wanted, f"{more} more events accepted")

    def finish(self) -> None:
        """Send nothing new, and see the last batch through."""
        self._stop.set()
        self._thread.join(ANSWER_S)
        assert not self._thread.is_alive(), "still without an answer"
        assert self._fine()
        assert self.accepted

    def _fine(self) -> bool:
        assert self._trouble is None, self._trouble
        return True

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set() and self._trouble is None:
            batch = [self._click(number + at) for at in range(self._random.randint(1, LARGEST))]
            number += len(batch)
            self._see_through(batch)
            if self._insistent and self._random.random() < AGAIN:
                self._see_through(batch)
            self._stop.wait(PACE_S)

    def _click(self, number: int) -> dict[str, object]:
        event_id = f"{self._name}-{number}"
        return {
            "event_id": event_id,
            "user_id": f"user of {event_id}",
            "session_id": f"s-{number % SESSIONS}",
            "item_id": 7,
            "ad_id": "ad-7",
            **({} if event_id.endswith(WITHOUT_PAGE) else {"page": "/menu"}),
        }

    def _see_through(self, batch: list[dict[str, object]]) -> None:
        body = json.dumps(batch).encode()
        while self._trouble is None:
            status, answer = self._post(body)
            self.answers[status] += 1
            if status == 202:
                self._note(batch, json.loads(answer)["results"])
                return
            if status not in {0, 503}:
                self._trouble = f"answered {status}: {answer[:500].decode()}"
            time.sleep(PACE_S)

    def _post(self, body: bytes) -> tuple[int, bytes]:
        try:
            self._connection.request("POST", "/v1/events/clicks", body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException):
            self._connection.close()
            return 0, b""
        if response.status == 503:
            self.retry_after.append(response.headers.get("Retry-After"))
        return response.status, answer

    def _note(self, batch: list[dict[str, object]], results: list[dict[str, object]]) -> None:
        for event, result in zip(batch, results, strict=True):
            if result["event_id"] != event["event_id"] or result["verdict"] not in {"accepted", "duplicate"}:
                self._trouble = f"sent {event} and was told {result}"
                return
            self.accepted[str(event["event_id"])] = str(result["ingestion_id"])
