"""Which incarnation of a topic a publisher writes to, as the sink counts them: for the ingestion ids it hands out."""

from __future__ import annotations

from collections.abc import Iterable

from flowguard.ports.ledger import SinkPosition


class Incarnations:
    """Call it with a topic and its id. It never blocks and never raises.

    An id that the sink has not claimed yet will be the topic's next incarnation. `known` are the sink's positions as
    far as they could be read; where they could not, a topic that was made again is taken for its first incarnation.
    """

    def __init__(self, known: Iterable[SinkPosition]) -> None:
        self._by_topic: dict[str, dict[str, int]] = {}
        for one in known:
            self._by_topic.setdefault(one.partition.topic, {})[one.topic_id] = one.incarnation

    def __call__(self, topic: str, topic_id: str) -> int:
        known = self._by_topic.setdefault(topic, {})
        if topic_id not in known:
            known[topic_id] = 1 + max(known.values(), default=0)
        return known[topic_id]
