"""Believable clicks, as requests and as records of the log. About 300 bytes each."""

from __future__ import annotations

import json
from collections.abc import Iterator

_OCCURRED = "2026-11-22T10:00:00.123456Z"


def click(number: int) -> dict[str, object]:
    """The fields of one click, different for each number."""
    return {
        "user_id": f"user_{number % 5_000}",
        "session_id": f"session_{number // 20}",
        "item_id": str(number % 300),
        "ad_id": f"food_{number % 300}",
        "page": "/menu/today",
        "referrer": "https://www.example.com/search?q=food",
    }


def requests(events: int, size: int) -> Iterator[bytes]:
    """Bodies for POST /v1/events/clicks, `size` events each, with event ids."""
    for first in range(0, events, size):
        some = range(first, min(first + size, events))
        yield json.dumps(
            [{"event_id": f"bench-{n:012d}", "occurred_at": _OCCURRED, "source": "bench", **click(n)} for n in some]
        ).encode()


def records(events: int) -> list[bytes]:
    """Values of log records: CloudEvents in JSON."""
    return [
        json.dumps(
            {
                "specversion": "1.0",
                "id": f"bench-{number:012d}",
                "source": "bench",
                "type": "clicks",
                "time": _OCCURRED,
                "schemaversion": 1,
                "data": click(number),
            },
            separators=(",", ":"),
        ).encode()
        for number in range(events)
    ]
