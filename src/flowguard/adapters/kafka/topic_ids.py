"""Which making of a topic a publisher's records went to, known without asking at every request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final

from flowguard.adapters.kafka.delivery import Places
from flowguard.domain.errors import ConfigurationError, FlowGuardError

_FRESH_S: Final = 2.0
_PATIENCE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class KnownTopic:
    """A topic as it was when last looked at. `ends`: the highest offsets in it that are known."""

    topic_id: str
    looked_at: float
    ends: Mapping[int, int] = field(default_factory=dict)


class TopicIds:
    """Remembers topic ids, and looks again: after some seconds, and whenever offsets start anew. Used in one loop.

    `look` blocks, and tells the id of a topic, or None; it is called in a thread. `changed` is called in that thread,
    too, with a topic that is new, or was made again.
    """

    def __init__(self, look: Callable[[str], str | None], changed: Callable[[str], None]) -> None:
        self._look = look
        self._changed = changed
        self._known: dict[str, KnownTopic] = {}
        self._looking: dict[str, asyncio.Task[KnownTopic | FlowGuardError]] = {}

    async def before(self, topic: str) -> KnownTopic:
        """The topic, to send records to it. Raises ConfigurationError where there is none, TransientError."""
        known = self._known.get(topic)
        if known is None:
            return await self._looked_at(topic)
        if monotonic() > known.looked_at + _FRESH_S:
            self._begin_to_look(topic)  # it is done about when the records are
        return known

    async def after(self, topic: str, before: KnownTopic, places: Places) -> str:
        """The id of the topic that took the records."""
        # All partitions start anew together: it is enough to look at the first record's and the last one's.
        ends = (places[0], places[-1])
        anew = any(offset <= before.ends.get(partition, -1) for partition, offset in ends)
        known = self._known.get(topic, before)
        try:
            if anew and known.topic_id == before.topic_id:
                self._begin_to_look(topic, anew=True)
            if topic in self._looking:
                known = await asyncio.wait_for(self._looked_at(topic), _PATIENCE_S)
        except (FlowGuardError, TimeoutError):
            known = self._known.get(topic, before)  # the records are logged, whatever cannot be asked now
        if topic in self._known:
            told = {} if anew else {**known.ends}
            for partition, offset in ends:
                told[partition] = max(offset, told.get(partition, -1))
            self._known[topic] = replace(known, ends=told)
        return known.topic_id

    def forget(self, topic: str) -> None:
        """Look at it before anything else is sent to it."""
        self._known.pop(topic, None)

    async def _looked_at(self, topic: str) -> KnownTopic:
        self._begin_to_look(topic)
        found = await asyncio.shield(self._looking[topic])  # others may wait for it, too
        if isinstance(found, FlowGuardError):
            raise found
        return found

    def _begin_to_look(self, topic: str, *, anew: bool = False) -> None:
        """Have a look under way; `anew`: one that begins now."""
        if anew or topic not in self._looking:
            task = asyncio.get_running_loop().create_task(self._look_at(topic))
            self._looking[topic] = task
            task.add_done_callback(lambda done: self._looking.get(topic) is done and self._looking.pop(topic))

    async def _look_at(self, topic: str) -> KnownTopic | FlowGuardError:
        started = monotonic()
        try:
            topic_id = await asyncio.to_thread(self._look, topic)
            known = self._known.get(topic)
            if topic_id is None:
                self.forget(topic)
                return ConfigurationError(f"Kafka has no topic {topic}: run `flowguard migrate`")
            if known is None or known.topic_id != topic_id:
                await asyncio.to_thread(self._changed, topic)
                known = KnownTopic(topic_id, started)
            else:
                known = replace(known, looked_at=started)
        except FlowGuardError as error:
            if known := self._known.get(topic):
                self._known[topic] = replace(known, looked_at=started)  # not every request need try again
            return error
        self._known[topic] = known
        return known
