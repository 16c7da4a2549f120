"""Memory and another technology, driven side by side.

Whatever is done, they answer alike and tell the same of it afterwards.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from flowguard.domain.dead_letters import Reason
from flowguard.domain.ingestion import INGESTION_ID_HEADER, Claim, Headers, IngestionId, Position, TopicPartition
from flowguard.domain.rows import Filtered, Move, Rows, SinkBatch
from flowguard.ports.dead_letters import State
from flowguard.ports.publisher import NewRecord
from tests.adapters.agreement import Side
from tests.adapters.memory.storage import MemoryDeadLetterStorage, MemoryLogStorage, MemorySinkStorage
from tests.adapters.postgres.storage import PostgresStorage
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.adapters.sqlite.storage import SqliteDeadLetterStorage, SqliteLogStorage, SqliteSinkStorage
from tests.builders import CATALOG, CLICKS, MEASUREMENTS, event, letter, rows_of, run

T = TypeVar("T")
TOPICS = {CLICKS.topic: 2, MEASUREMENTS.topic: 1}
PLACES = [TopicPartition(topic, number) for topic, width in TOPICS.items() for number in range(width)]

places = st.sampled_from(PLACES)
topics = st.sampled_from(sorted(TOPICS))
offsets = st.integers(0, 12)
keys = st.sampled_from([b"a", b"b", b"c", b""])
ids = st.builds(IngestionId, topics, st.integers(1, 2), st.integers(0, 1), offsets)


@st.composite
def events(draw: st.DrawFn, topic: str) -> bytes:
    """From few ids and two services, so that many are the same; some hold what no sink can."""
    event_type = CATALOG.of_topic(topic)
    assert event_type is not None
    event_id, source = f"e{draw(st.integers(0, 40))}", draw(st.sampled_from(["shop", "app"]))
    if event_type is MEASUREMENTS and draw(st.integers(0, 9)) == 0:
        return event(event_type, event_id, source=source, count=str(2**64))
    return event(event_type, event_id, source=source)


@st.composite
def records(draw: st.DrawFn, topic: str) -> list[NewRecord]:
    """Some of them were relayed, and carry the id of where they were first."""
    before = st.builds(IngestionId, st.just(topic), st.just(1), st.integers(0, TOPICS[topic] - 1), st.integers(0, 5))
    relayed = before.map(lambda one: ((INGESTION_ID_HEADER, str(one).encode()),))
    one = st.builds(NewRecord, keys, events(topic), st.sampled_from([(), (), ()]) | relayed)
    return draw(st.lists(one, min_size=1, max_size=10))


class Agreement(RuleBasedStateMachine):
    claims = Bundle("claims")

    def __init__(self, make: Callable[[ExitStack], Side]) -> None:
        """`make` makes the other side, on storage that is empty; what it has to let go of goes on the stack."""
        super().__init__()
        self._closing = ExitStack()
        self.memory = Side(MemoryLogStorage(), MemorySinkStorage(), MemoryDeadLetterStorage(), TOPICS)
        self.other = make(self._closing)
        self.makings = dict.fromkeys(TOPICS, 1)
        # What was ever logged, by place and incarnation: consumers hold records that the log has no more.
        self.logged: dict[tuple[TopicPartition, int], dict[int, tuple[bytes, Headers]]] = defaultdict(dict)

    def both(self, act: Callable[[Side], T]) -> T:
        """Do it on both sides, which have to answer the same."""
        memory, other = act(self.memory), act(self.other)
        assert memory == other
        return memory

    def teardown(self) -> None:
        self.memory.end()
        self.other.end()
        self._closing.close()

    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        for topic in sorted(TOPICS):
            self.publish(topic, data)
        self.both(lambda side: side.poll())
        self.both(lambda side: side.member.source.resume(dict.fromkeys(PLACES)))

    # -- the log and the group ---------------------------------------------------------------------------------------

    @rule(topic=topics, data=st.data())
    def publish(self, topic: str, data: st.DataObject) -> None:
        batch = data.draw(records(topic))
        _, put = self.both(lambda side: side.publish(topic, batch))
        for (partition, offset), record in zip(put, batch, strict=True):
            place = TopicPartition(topic, partition)
            self.logged[place, self.makings[topic]][offset] = (record.value, record.headers)

    @rule()
    def poll(self) -> None:
        self.both(lambda side: side.poll())

    @rule(starts=st.dictionaries(places, st.none() | offsets, max_size=3), paused=st.sets(places, max_size=2))
    def resume_and_pause(self, starts: dict[TopicPartition, int | None], paused: set[TopicPartition]) -> None:
        self.both(lambda side: side.member.source.resume(starts))
        self.both(lambda side: side.member.source.pause(paused))
        self.both(lambda side: side.poll())

    @rule(ends=st.dictionaries(places, offsets, min_size=1))
    def commit(self, ends: dict[TopicPartition, int]) -> None:
        self.both(lambda side: side.commit([Position(*one) for one in ends.items()]))

    # Rare things are dealt out by one rule, or nothing else would ever happen.
    @rule(target=claims, data=st.data(), place=places)
    def something_befalls(self, data: st.DataObject, place: TopicPartition) -> MultipleResults[Claim]:
        claimed: list[Claim] = []
        match data.draw(st.sampled_from(["crash", "restart", "skip", "skip", "truncate", "truncate", "made again"])):
            case "crash":
                self.both(lambda side: side.restart(crash=True))
            case "restart":
                self.both(lambda side: side.restart(crash=False))
            case "skip":
                number = data.draw(st.integers(1, 3))
                self.both(lambda side: side.skip(place, number))
            case "truncate":
                end = self.memory.end_of(place)
                before = data.draw(st.integers(0, end))
                self.both(lambda side: side.truncate(place, before))
            case _:
                self.both(lambda side: side.make_again(place.topic))
                self.makings[place.topic] += 1
                self.publish(place.topic, data)
                claimed = self.both(lambda side: side.claim("one", [one for one in PLACES if one.topic == place.topic]))
        self.both(lambda side: side.poll())
        self.both(lambda side: side.member.source.resume(dict.fromkeys(PLACES)))
        return multiple(*claimed)

    # -- the sink ----------------------------------------------------------------------------------------------------

    @initialize(target=claims)
    def claim_all(self) -> MultipleResults[Claim]:
        return multiple(*self.both(lambda side: side.claim("one", PLACES)))

    @rule(target=claims, place=places, owner=st.sampled_from(["one", "two"]))
    def claim(self, place: TopicPartition, owner: str) -> Claim:
        (claimed,) = self.both(lambda side: side.claim(owner, [place]))
        return claimed

    @rule(claimed=claims, data=st.data())
    def write_what_comes_next(self, claimed: Claim, data: st.DataObject) -> None:
        """As a consumer does: from where the sink stands, or from somewhere else after a lost reply or as a zombie."""
        stands = self._position(claimed)
        start = data.draw(st.sampled_from([stands, stands, stands, claimed.next_offset, None]) | offsets)
        self._write(data, [(claimed, start)])

    @rule(
        some=st.lists(claims, min_size=2, max_size=4, unique_by=lambda one: (one.partition, one.incarnation)),
        data=st.data(),
    )
    def write_several_partitions(self, some: list[Claim], data: st.DataObject) -> None:
        self._write(data, [(one, self._position(one)) for one in some])

    def _write(self, data: st.DataObject, moves: list[tuple[Claim, int | None]]) -> None:
        rows: list[Rows] = []
        filtered: list[Filtered] = []
        moving: list[Move] = []
        for claimed, start in moves:
            end = (start or 0) + data.draw(st.integers(0, 8))
            found = self._rows(data, claimed.partition, claimed.incarnation, start or 0, end)
            rows += found
            moving.append(Move(claimed, start, end))
            if data.draw(st.integers(0, 3)) == 0 and end > (start or 0):
                event_type = CATALOG.of_topic(claimed.partition.topic)
                assert event_type is not None
                filtered.append(Filtered(event_type, claimed.partition, claimed.incarnation, [end - 1]))
        batch = SinkBatch(tuple(rows), tuple(moving), tuple(filtered))
        for _ in range(data.draw(st.integers(1, 2))):  # the reply was lost, and it is written again
            self.both(lambda side: side.write(batch))

    @rule(place=places, incarnation=st.integers(1, 2), first=offsets, count=st.integers(1, 8), data=st.data())
    def replay(self, place: TopicPartition, incarnation: int, first: int, count: int, data: st.DataObject) -> None:
        batch = SinkBatch(tuple(self._rows(data, place, incarnation, first, first + count)), ())
        self.both(lambda side: side.write(batch))

    def _rows(self, data: st.DataObject, place: TopicPartition, incarnation: int, first: int, end: int) -> list[Rows]:
        """Rows of the records that were logged there, in one piece or two."""
        held = self.logged[place, incarnation]
        wanted = [offset for offset in sorted(held) if first <= offset < end]
        cut = data.draw(st.integers(0, len(wanted)))
        return [
            rows_of(run(place, {at: held[at][0] for at in some}, {at: held[at][1] for at in some}), incarnation)
            for some in (wanted[:cut], wanted[cut:])
            if some
        ]

    def _position(self, claimed: Claim) -> int | None:
        return next(
            one.next_offset
            for one in self.memory.ledger.positions()
            if (one.partition, one.incarnation) == (claimed.partition, claimed.incarnation)
        )

    # -- dead letters ------------------------------------------------------------------------------------------------

    @rule(
        at=st.lists(st.tuples(offsets, places, st.integers(1, 2)), max_size=4),
        reason=st.sampled_from(Reason),
        error=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=5),
    )
    def put_dead_letters(self, at: list[tuple[int, TopicPartition, int]], reason: Reason, error: str) -> None:
        letters = [
            letter(offset, topic=place.topic, partition=place.partition, incarnation=one, reason=reason, error=error)
            for offset, place, one in at
        ]
        self.both(lambda side: side.put(letters))

    @rule(marked=st.lists(ids, max_size=4), state=st.sampled_from(State))
    def mark_dead_letters(self, marked: list[IngestionId], state: State) -> None:
        self.both(lambda side: side.mark(marked, state))

    # -- what they tell ----------------------------------------------------------------------------------------------

    @invariant()
    def they_tell_the_same(self) -> None:
        memory, other = self.memory.account(), self.other.account()
        assert memory.keys() == other.keys()
        for what, told in memory.items():
            assert told == other[what], what
            assert not what.endswith("doubled") or not told


def agree(make: Callable[[ExitStack], Side], *, examples: int, steps: int = 30) -> None:
    """Drive memory and what `make` makes."""

    class Agreeing(Agreement):
        def __init__(self) -> None:
            super().__init__(make)

    run_state_machine_as_test(Agreeing, settings=settings(max_examples=examples, stateful_step_count=steps))


def test_memory_and_sqlite_agree() -> None:
    def make(closing: ExitStack) -> Side:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
        files = SqliteLogStorage(folder), SqliteSinkStorage(folder), SqliteDeadLetterStorage(folder)
        for storage in files:
            closing.callback(storage.close)
        return Side(*files, TOPICS)

    agree(make, examples=max(20, settings().max_examples // 5))


@pytest.mark.postgres
@pytest.mark.slow
def test_memory_and_postgres_agree(postgres_url: str) -> None:
    """PostgreSQL has no log: the sink, the ledger and the dead letters are driven, beside a log in memory."""

    def make(closing: ExitStack) -> Side:
        storage = PostgresStorage(postgres_url)
        closing.callback(storage.close)
        return Side(MemoryLogStorage(), storage, storage, TOPICS)

    agree(make, examples=max(10, settings().max_examples // 10))  # a server takes longer to tell all


@pytest.mark.snowflake
@pytest.mark.slow
def test_memory_and_snowflake_agree(snowflake_url: str) -> None:
    """As with PostgreSQL; but to tell all, after each step, takes a hundred statements of a hundredth of a second."""

    def make(closing: ExitStack) -> Side:
        storage = SnowflakeStorage(snowflake_url)
        closing.callback(storage.close)
        return Side(MemoryLogStorage(), storage, storage, TOPICS)

    agree(make, examples=max(4, settings().max_examples // 25), steps=10)
