"""Reading Kafka as a member of a consumer group."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from time import monotonic
from typing import Final

from confluent_kafka import KafkaError, Message

from flowguard.adapters.kafka.errors import MISSING, cause_of, mapped, translated
from flowguard.adapters.kafka.health import ClientHealth
from flowguard.adapters.kafka.options import KafkaOptions
from flowguard.adapters.kafka.records import runs_of, split
from flowguard.adapters.kafka.source_config import consumer_config, queue_bytes
from flowguard.adapters.kafka.source_member import KafkaMember
from flowguard.adapters.kafka.source_partition import PartitionState, truncated
from flowguard.adapters.kafka.source_shelf import Shelf
from flowguard.adapters.kafka.source_topics import SourceTopics
from flowguard.adapters.kafka.source_turns import Turns
from flowguard.domain.errors import ConfigurationError, FlowGuardError, TransientError
from flowguard.domain.ingestion import Assignment, Position, RecordRun, TopicPartition
from flowguard.ports.source import EventSource, RebalanceListener

_LOOK_S: Final = 1.0
"""How often the topics are looked at when nothing is read of them."""
_SOON_S: Final = 0.05
"""How long until something that is not there yet is looked for again."""
_SURE_S: Final = 5.0
"""How long a log must seem to end too early until that is believed."""
_QUIET_S: Final = 5.0
"""How long a client may bring nothing until it is asked whether it has a broker at all."""
_TIMES: Final = 2
"""How often it has to say no until it is replaced."""
_MOST_RECORDS: Final = 20_000
"""Taken from the client at once."""

_OUT_OF_RANGE: Final = frozenset(
    {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION}  # noqa: SLF001  # public, in spite of the name: the client's own codes have one
)


class KafkaEventSource(EventSource):
    """A member of the consumer group `group` that reads `topics`. Nothing connects before the first poll.

    One poll returns at most `fetch_bytes`, or one record; as much again waits in here, and `consumer_config` says how
    much in the client. A topic that does not exist yet is read once it does.

    A record is returned under a topic id only if a broker said, when asked after the record had been fetched, that
    this is the topic's id. So no record of a topic that was made again comes as one of the topic before, as long as no
    broker's metadata is further behind than it takes to fill the new topic up to where the old one was read. When a
    topic was made again, the client is made again, too: librdkafka would go on in the new topic where it stood in the
    old one, or, where its partitions have changed leaders less often, never find them.
    """

    def __init__(
        self, options: KafkaOptions, group: str, topics: Iterable[str], *, fetch_bytes: int = 4 * 1024 * 1024
    ) -> None:
        self._options = options
        self._group = group
        self._topics = tuple(topics)
        self._fetch_bytes = fetch_bytes
        self._cluster = SourceTopics(options, self._topics)
        self._health = ClientHealth()
        self._member: KafkaMember | None = None
        self._listener: RebalanceListener | None = None
        self._told = False  # the listener was told something in this poll
        self._ours: dict[TopicPartition, PartitionState] = {}
        self._known: dict[str, str] = {}  # topic ids, as long as this client lives
        self._look_at = 0.0
        self._begin_at = 0.0
        self._fetched: list[RecordRun] = []  # since the topics were last asked after
        self._confirming: list[RecordRun] = []  # before that
        self._shelf = Shelf()
        self._turns = Turns(queue_bytes(fetch_bytes))
        self._record_bytes = 1_000.0
        self._heard_at = 0.0  # of the client: that it has a broker
        self._unheard = 0
        self._refused: ConfigurationError | None = None  # another client would meet with the same
        self._closed = False

    def poll(self, timeout_s: float, listener: RebalanceListener) -> Sequence[RecordRun]:
        if self._closed:
            raise TransientError("this source is closed: make another one")
        if self._refused is not None:
            raise self._refused
        deadline = monotonic() + timeout_s
        self._listener = listener
        self._told = False
        while True:
            member = self._member or self._join()
            if member.errors:
                self._complain(member)
            self._begin(member)
            if self._member is member:
                self._fetch(member, deadline - monotonic())
            self._look(deadline - monotonic())
            runs = self._shelf.take(self._fetch_bytes, self._reads)
            if runs or self._told or monotonic() >= deadline:
                return runs

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        paused = [place for place in partitions if place in self._ours]
        for place in paused:
            self._ours[place].reading = False
        if self._member is not None:
            self._member.pause(paused)

    def resume(self, starts: Mapping[TopicPartition, int | None]) -> None:
        resumed, moved = [], []
        for place, start in starts.items():
            state = self._ours.get(place)
            if state is None:
                continue
            state.reading = True
            if start is not None:
                state.start, state.standing, state.truncated = start, False, False
                moved.append(place)
            elif state.standing:
                resumed.append(place)
        if self._member is not None:
            self._member.resume(resumed)
            self._member.pause(moved)  # until the next poll has moved them
        self._drop(moved)

    def commit(self, positions: Iterable[Position]) -> None:
        member = self._member
        mine = [position for position in positions if position.partition in self._ours]
        if member is None or not mine:
            return
        try:
            ids = self._cluster.ids()
            same = [one for one in mine if self._ours[one.partition].topic_id == ids[one.partition.topic]]
            with mapped(f"group {self._group}", self._health):
                # The client knows no time-out for a commit. Who answers this one is there.
                before = member.committed(self._ids(one.partition for one in same))
                self._keep_starts(before, [one.partition for one in same])
                if same:
                    member.commit(same, self._ids(one.partition for one in same))
        except ConfigurationError as error:
            raise TransientError(str(error)) from error  # poll says it as well, if it is for good
        if any(ids[one.partition.topic] is None for one in mine):
            raise TransientError(f"group {self._group}: a topic is not there just now")

    def close(self) -> None:
        self._closed = True
        self._leave()

    # -- reading -----------------------------------------------------------------------------------------------------

    def _reads(self, place: TopicPartition) -> bool:
        state = self._ours.get(place)
        return state is not None and state.reading

    def _fetch(self, member: KafkaMember, left_s: float) -> None:
        """Take from the client what there is, waiting for the first record where none is at hand."""
        most = max(1, min(_MOST_RECORDS, int(self._fetch_bytes / self._record_bytes)))
        wait = min(left_s, _SOON_S if self._cluster.asking or self._begin_at else self._look_at - monotonic())
        if self._fetched or self._confirming or self._shelf.holds(self._reads):
            most, wait = 1, 0.0  # for the callbacks' sake
        with mapped(f"group {self._group}", self._health):
            records, errors = split(member.fetch(most, max(wait, 0.0)))
        if records:
            self._heard_at = monotonic()
            asked = not self._cluster.asking
            if asked:
                self._ask()  # the answer comes while the records are made into runs
            # Some may be of partitions that a callback took away while the rest was taken.
            runs = [run for run in runs_of(records) if run.partition in self._ours]
            (self._confirming if asked else self._fetched).extend(runs)
            self._turns.took(runs)
            for run in runs:
                self._ours[run.partition].stood = run.next_offset
                self._record_bytes = run.size_bytes / len(run)
        for message in errors:
            self._fail(member, message)
        reading = {place: state.stood for place, state in self._ours.items() if state.reading and state.standing}
        rest, go_on = self._turns.change(monotonic(), reading, member.end)
        member.pause(rest)
        member.resume(go_on)

    def _fail(self, member: KafkaMember, message: Message) -> None:
        """The client told an error in the place of a record."""
        error = message.error()
        if error is None:
            return
        code = error.code()
        state = self._ours.get(TopicPartition(message.topic() or "", message.partition() or 0))
        if code in _OUT_OF_RANGE:
            if state is not None and state.standing:
                offset = message.offset()
                # Without an offset, it is a leader that knows less than the last one, or other records.
                state.truncated = offset is None or offset < 0
                state.start = state.stood if state.truncated else offset
                state.standing = False
        elif code in MISSING:
            self._look_at = 0.0
        elif code == KafkaError._FATAL:  # noqa: SLF001  # as above
            self._health.fatal = True
            member.errors.append(translated(cause_of(error), f"group {self._group}", self._health))
        elif code != KafkaError._MAX_POLL_EXCEEDED:  # noqa: SLF001  # the partitions are lost, as the callback tells
            member.errors.append(translated(error, f"group {self._group}", self._health))

    def _complain(self, member: KafkaMember) -> None:
        error = member.errors.pop(0)
        ours = isinstance(error, FlowGuardError)  # else a callback was broken off, and what was dealt is not sure
        if self._health.fatal or not ours:  # the client is of no use any more: the next poll makes another one
            self._lose(tuple(self._ours))
            self._leave()
            self._refused = error if isinstance(error, ConfigurationError) else None
        if not ours:
            raise TransientError(f"group {self._group}: {type(error).__name__}: {error}") from error
        raise error

    def _drop(self, places: Collection[TopicPartition]) -> None:
        """Records of these were fetched, and nobody is to have them."""
        if places:
            self._shelf.drop(places)
            self._fetched = [run for run in self._fetched if run.partition not in places]
            self._confirming = [run for run in self._confirming if run.partition not in places]

    # -- where reading starts ----------------------------------------------------------------------------------------

    def _waits(self, place: TopicPartition) -> bool:
        return self._ours[place].reading and not self._ours[place].standing

    def _begin(self, member: KafkaMember) -> None:
        """Have the client read what was resumed, from where it was said. Raises ConfigurationError."""
        now = monotonic()
        waiting = list(filter(self._waits, self._ours))
        if not waiting:
            self._begin_at = 0.0
        if not waiting or now < self._begin_at:
            return
        self._begin_at = now + _LOOK_S  # what is read already goes on, if this fails
        kept = self._cluster.kept(waiting)
        unsaid = [place for place in kept if self._ours[place].start is None]
        with mapped(f"group {self._group}", self._health):
            committed = member.committed(self._ids(unsaid))
        starts = {}
        for place, (earliest, _) in kept.items():
            start = self._ours[place].start
            starts[place] = committed.get(place, earliest) if start is None else start
        if any(self._ours[p].truncated or not kept[p].earliest <= start <= kept[p].end for p, start in starts.items()):
            # Not so if it is another topic by now: then its partitions are lost.
            self._learn(self._cluster.ids())
        self._begin_at = 0.0 if kept.keys() >= set(waiting) else now + _SOON_S
        ours = {place: start for place, start in starts.items() if place in self._ours}
        for place, start in ours.items():
            self._require_reaches(place, kept[place].end, start)
        with mapped(f"group {self._group}", self._health):
            member.start({place: max(start, kept[place].earliest) for place, start in ours.items()})
        for place, start in ours.items():
            if place not in self._ours:
                continue  # a callback has taken it since
            state = self._ours[place]
            state.start, state.standing, state.stood = None, True, max(start, kept[place].earliest)
            if start < kept[place].earliest:
                self._tell().on_gap(place, start, kept[place].earliest - 1)

    def _require_reaches(self, place: TopicPartition, end: int, start: int) -> None:
        """Raise ConfigurationError where the log ends before `start`, and TransientError until that is sure."""
        state = self._ours[place]
        if not state.truncated and start <= end:
            state.short_since = None
            return
        now = monotonic()
        state.short_since = state.short_since or now
        if state.truncated or now - state.short_since > _SURE_S:
            raise ConfigurationError(truncated(place, end, start))
        self._cluster.close()  # it may have been a leader of before that answered: the leaders are looked up anew
        raise TransientError(f"{place} seems to end at {end}, before {start}: it is asked again")

    def _ids(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        return {place: self._ours[place].topic_id for place in places}

    def _keep_starts(self, committed: Mapping[TopicPartition, int], places: Iterable[TopicPartition]) -> None:
        """A commit moves nobody: what was resumed before it, and has not begun, starts where it would have."""
        waiting = [place for place in places if self._waits(place) and self._ours[place].start is None]
        earliest = self._cluster.earliest(waiting)
        for place in waiting:
            self._ours[place].start = committed.get(place, earliest.get(place))

    # -- topics and their ids ----------------------------------------------------------------------------------------

    def _ask(self) -> None:
        self._confirming += self._fetched
        self._fetched = []
        self._cluster.ask()
        self._look_at = monotonic() + _LOOK_S

    def _look(self, left_s: float) -> None:
        """See whether the topics are the same as ever; then what was fetched before that was asked is theirs."""
        unsure = bool(self._fetched or self._confirming)
        if not self._cluster.asking:
            if not unsure and monotonic() < self._look_at:
                return
            self._ask()
        ids = self._cluster.answer(max(left_s, 0.0) if unsure else 0.0)
        if ids is None:
            return
        self._learn(ids)
        self._shelf.put(self._confirming)
        self._confirming = []
        self._require_broker()

    def _require_broker(self) -> None:
        """Replace a client that has lost sight of every broker, while the cluster has just answered another one.

        It would never find them again, nor say so (librdkafka 2.16, after a broker that was about to stop said that
        there are none).
        """
        member = self._member
        if member is None or monotonic() < self._heard_at + _QUIET_S:
            return
        self._heard_at = monotonic()
        self._unheard = 0 if member.reachable(self._topics[0]) else self._unheard + 1
        if self._unheard >= _TIMES:
            self._unheard = 0
            self._lose(tuple(self._ours))
            self._leave()

    def _learn(self, ids: Mapping[str, str | None]) -> None:
        """Tell the listener of topics that went, and of partitions whose topic can be told."""
        self._lose([place for place, state in self._ours.items() if ids[place.topic] != state.topic_id])
        if any(self._known.get(topic, topic_id) != topic_id for topic, topic_id in ids.items() if topic_id):
            self._start_over()
            return
        self._known.update({topic: topic_id for topic, topic_id in ids.items() if topic_id})
        dealt = [] if self._member is None else sorted(self._member.partitions)
        new = [Assignment(p, topic_id) for p in dealt if p not in self._ours and (topic_id := ids[p.topic])]
        if len(self._ours) + len(new) < len(dealt):
            self._look_at = min(self._look_at, monotonic() + _SOON_S)
        if new:
            self._ours.update({place: PartitionState(topic_id) for place, topic_id in new})
            self._tell().on_assigned(new)

    def _lose(self, places: Sequence[TopicPartition]) -> None:
        if not places:
            return
        if self._member is not None:
            self._member.pause(places)
        self._forget(places)
        self._tell().on_lost(places)

    def _forget(self, places: Collection[TopicPartition]) -> None:
        self._drop(places)
        for place in places:
            self._ours.pop(place, None)

    def _tell(self) -> RebalanceListener:
        assert self._listener is not None  # noqa: S101  # narrows the type; every call is from inside a poll
        self._told = True
        return self._listener

    # -- the group ---------------------------------------------------------------------------------------------------

    def _join(self) -> KafkaMember:
        self._health = ClientHealth()
        self._look_at = 0.0
        self._heard_at = monotonic()
        with mapped(f"group {self._group}", starting=True):
            config = consumer_config(self._options, self._group, self._health, self._fetch_bytes)
            self._member = KafkaMember(config, self._topics, self._dealt, self._taken)
        return self._member

    def _leave(self) -> None:
        member, self._member = self._member, None
        self._known.clear()
        self._forget(tuple(self._ours))
        if member is not None:
            member.close()
        self._cluster.close()

    def _start_over(self) -> None:
        """With other clients, which know nothing of the topics as they were."""
        if left := tuple(self._ours):
            self._tell().on_revoked(left)
        self._leave()

    def _dealt(self, partitions: Sequence[TopicPartition]) -> None:
        self._look_at = 0.0  # the topic's id is asked for, and then they are told
        self._lose([place for place in partitions if place in self._ours])

    def _taken(self, partitions: Sequence[TopicPartition], lost: bool) -> None:  # noqa: FBT001  # as its caller has it
        mine = [place for place in partitions if place in self._ours]
        gone = mine
        if mine and not lost:
            # The group takes back what is not there any more, too, and what was made again.
            try:
                ids = self._cluster.ids()
                gone = [place for place in mine if self._ours[place].topic_id != ids[place.topic]]
            except FlowGuardError:
                gone = []
        self._lose(gone)
        if left := [place for place in mine if place in self._ours]:
            self._tell().on_revoked(left)
            self._forget(left)
