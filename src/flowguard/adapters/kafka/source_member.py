"""One client of librdkafka, as a member of a consumer group."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from threading import Thread
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Place

from flowguard.adapters.kafka.errors import error_of
from flowguard.domain.ingestion import Position, TopicPartition

_CLOSE_S: Final = 10.0
_COORDINATOR_S: Final = 5.0
_ANSWER_S: Final = 1.0

_GIVEN_UP: Final = frozenset(
    {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_MEMBER_EPOCH, KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL}  # noqa: SLF001  # public, in spite of the name: the client's own codes have one
)
"""What a commit is answered when the group has given the member up. The client learns it by that, too."""


class KafkaMember:
    """Joins the group when it is made. What it is dealt is paused, and is read from where `start` says.

    `on_dealt` and `on_taken` (with whether it is lost already) are called from inside `fetch`, and may commit.
    A callback of the client never raises, as that would destroy what it has in hand: `errors` has what went wrong.
    One thread may use it: the client lets a second one wait until the first has left it, callbacks included.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: Sequence[str],
        on_dealt: Callable[[Sequence[TopicPartition]], None],
        on_taken: Callable[[Sequence[TopicPartition], bool], None],
    ) -> None:
        self.errors: list[Exception] = []
        self._tell_dealt, self._tell_taken = on_dealt, on_taken
        self._dealt: set[TopicPartition] = set()
        self._held: list[Message] = []
        self._closing = False
        self._consumer = Consumer(dict(config))
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    @property
    def partitions(self) -> Collection[TopicPartition]:
        """What the group has dealt to this member."""
        return self._dealt

    def fetch(self, most: int, timeout_s: float) -> list[Message]:
        """Up to `most` messages that are there, waiting for the first; serves the group's callbacks."""
        held, self._held = self._held, []
        messages = self._consumer.consume(1, 0 if held else timeout_s)
        # It would wait for the full number; without a time-out it takes what there is.
        if messages and most > 1:
            messages += self._consumer.consume(most - 1, 0)
        return held + messages

    def start(self, starts: Mapping[TopicPartition, int]) -> None:
        """Read these, from these offsets. What was fetched before is not returned any more."""
        self._held = [one for one in self._held if (one.topic(), one.partition()) not in starts]
        stuck = []
        for place, offset in starts.items():
            try:
                self._consumer.seek(Place(*place, offset))
            except KafkaException as error:
                inner = error_of(error)
                if inner is None or inner.code() != KafkaError._STATE:  # noqa: SLF001  # as above
                    raise
                stuck.append(place)  # the client stopped reading it when its offset was out of range
        if stuck:
            # A change of the assignment that comes between a rebalance and its callback would be taken for the answer
            # to it. When a rebalance begins, the client throws away what is queued: so one poll comes upon it.
            self._held += filter(None, [self._consumer.poll(0)])
            again = [Place(*place, starts[place]) for place in stuck if place in self._dealt]
            if again:
                self._consumer.incremental_unassign(again)
                self._consumer.incremental_assign(again)
        self.resume(starts)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        if places := [Place(*place) for place in partitions if place in self._dealt]:
            self._consumer.pause(places)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        if places := [Place(*place) for place in partitions if place in self._dealt]:
            self._consumer.resume(places)

    def reachable(self, topic: str) -> bool:
        """Whether a broker answers this client, within a second."""
        try:
            self._consumer.list_topics(topic, timeout=_ANSWER_S)
        except KafkaException:
            return False
        return True

    def end(self, place: TopicPartition) -> int:
        """Where the partition ends, as the last answer of a broker had it; negative where there was none."""
        _, end = self._consumer.get_watermark_offsets(Place(*place), cached=True)
        return int(end)

    def committed(self, ids: Mapping[TopicPartition, str]) -> dict[TopicPartition, int]:
        """The group's next offsets, of those that have one. Raises KafkaException where its coordinator is away.

        `ids` are the partitions with the ids of their topics: an offset that was committed for another making of the
        topic is none. One without a note of it is trusted: another program has set it, or a person.

        The AdminClient's question for them is not an alternative: once it has timed out, a late answer to it ends the
        process (an assertion of librdkafka 2.16, in rd_kafka_admin_coord_response_parse).
        """
        places = [Place(*place) for place in ids]
        found = self._consumer.committed(places, timeout=_COORDINATOR_S) if places else []
        for one in found:
            if one.error is not None:
                raise KafkaException(one.error)
        offsets = {TopicPartition(one.topic, one.partition): one for one in found if one.offset >= 0}
        return {place: one.offset for place, one in offsets.items() if one.metadata in {None, "", ids[place]}}

    def commit(self, positions: Iterable[Position], ids: Mapping[TopicPartition, str]) -> None:
        """Returns when they are stored, or when the group has given us up. Raises KafkaException.

        The ids of the topics are stored beside the offsets.

        It waits for the group's coordinator for as long as that is away: see first that `committed` is answered.
        """
        offsets = [Place(*place, offset, ids[place]) for place, offset in positions]
        try:
            for one in self._consumer.commit(offsets=offsets, asynchronous=False):
                if one.error is not None:
                    raise KafkaException(one.error)
        except KafkaException as error:
            inner = error_of(error)
            if inner is None or inner.code() not in _GIVEN_UP:
                raise

    def close(self) -> None:
        """Leave the group, as far as that can be done in time; a static member only goes away."""
        self._closing = True
        # It gives up after some seconds by itself. Should it not, the process may end all the same.
        closing = Thread(target=self._consumer.close, name="flowguard-kafka-close", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)

    # -- callbacks, from inside fetch and close ----------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, given: Sequence[Place]) -> None:
        try:
            places = [Place(one.topic, one.partition, 0) for one in given]
            consumer.incremental_assign(places)
            consumer.pause(places)
            partitions = [TopicPartition(one.topic, one.partition) for one in given]
            self._dealt.update(partitions)
            self._tell_dealt(partitions)
        except Exception as error:  # noqa: BLE001  # told by the next poll
            self.errors.append(error)

    def _on_revoke(self, consumer: Consumer, given: Sequence[Place]) -> None:
        self._take(consumer, given, lost=False)

    def _on_lost(self, consumer: Consumer, given: Sequence[Place]) -> None:
        self._take(consumer, given, lost=True)

    def _take(self, consumer: Consumer, given: Sequence[Place], *, lost: bool) -> None:
        partitions = [TopicPartition(one.topic, one.partition) for one in given]
        try:
            if not self._closing:
                self._tell_taken(partitions, lost)
        except Exception as error:  # noqa: BLE001  # told by the next poll
            self.errors.append(error)
        try:
            self._dealt.difference_update(partitions)
            consumer.incremental_unassign(list(given))
        except Exception as error:  # noqa: BLE001  # as above
            self.errors.append(error)
