"""Which making of a topic a topic id is: 1 for the first that was seen here, 2 for the next, ...

Kept without a warehouse: a channel for each making, whose offset token is the topic id. Taking a channel fences
whoever had it, and it is written to once: so of two consumers that meet a new topic id, one enters it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Final

from flowguard.adapters.snowpipe.client import Client
from flowguard.adapters.snowpipe.commits import Deadline, Place, committed, flush
from flowguard.adapters.snowpipe.errors import mapped
from flowguard.domain.errors import FencedError, TransientError
from flowguard.domain.ingestion import TopicPartition

MAKINGS: Final = "FG_TOPIC_MAKINGS"
"""The table behind the channels: the same, for people to read."""


class Makings:
    """Remembers what it has seen: a topic id keeps its number."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._known: dict[tuple[str, str], int] = {}

    def number(self, client: Client, topic: str, topic_id: str, owner: str) -> int:
        """The number of this topic id, entered by `owner` where it is new.

        Raises TransientError, ConfigurationError.
        """
        known = self._known.get((topic, topic_id))
        if known is None:
            known = self._known[topic, topic_id] = next(
                number for number in count(1) if self._holder(client, topic, number, topic_id, owner) == topic_id
            )
        return known

    def _holder(self, client: Client, topic: str, number: int, topic_id: str, owner: str) -> str:
        """The topic id that has the number; ours where nobody had it."""
        name = f"flowguard.{topic}.making.{number}"
        with mapped(self._place.where):
            held = client.get_latest_committed_offset_tokens([name]).get(name)
        return held or self._entered(client, name, topic, number, topic_id, owner)

    def _entered(self, client: Client, name: str, topic: str, number: int, topic_id: str, owner: str) -> str:
        deadline = Deadline(self._place.timeout_s)
        now = datetime.now(UTC)
        row = {"TOPIC": topic, "INCARNATION": number, "TOPIC_ID": topic_id, "ENTERED_BY": owner, "ENTERED_AT": now}
        nobody = TopicPartition(topic, -1)
        try:
            with mapped(self._place.where, nobody):
                channel, status = client.open_channel(name)
                if status.latest_committed_offset_token:
                    return status.latest_committed_offset_token
                channel.append_rows([row], topic_id, topic_id)
            flush(channel, self._place, deadline, nobody)
        except FencedError as error:
            raise TransientError(f"{self._place.where}: another consumer enters {topic} just now") from error
        status = committed(client, {name: bool}, self._place, deadline)[name]
        held = status.latest_committed_offset_token
        if not held:
            raise TransientError(f"{self._place.where}: {name} is lost ({status.status_code})")
        return held
