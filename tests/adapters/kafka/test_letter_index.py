"""The index against the queue in memory: what a sequence of records adds up to."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from flowguard.adapters.kafka.letter_headers import Marked, headers_of, headers_of_mark, read
from flowguard.adapters.kafka.letter_index import LetterIndex, Place
from flowguard.adapters.memory import MemoryDeadLetterQueue
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.ingestion import IngestionId, TopicPartition
from flowguard.ports.dead_letters import State
from tests.builders import CLICKS, NOW, ORDERS, letter

ids = st.builds(IngestionId, st.just(CLICKS.topic), st.integers(1, 2), st.integers(0, 1), st.integers(0, 4))
puts = st.builds(
    lambda one, reason: letter(one.offset, partition=one.partition, incarnation=one.incarnation, reason=reason),
    ids,
    st.sampled_from(Reason),
)
marks = st.builds(Marked, st.lists(ids, max_size=3).map(tuple), st.sampled_from(State))
wishes = st.tuples(st.none() | st.sampled_from(Reason), st.none() | st.sampled_from(State), st.none() | ids)


@given(st.lists(puts | marks, max_size=30), st.lists(wishes, max_size=5))
def test_records_add_up_to_what_the_memory_queue_holds(
    steps: list[DeadLetter | Marked], wished: list[tuple[Reason | None, State | None, IngestionId | None]]
) -> None:
    memory, index = MemoryDeadLetterQueue(), LetterIndex(CLICKS.topic)
    for offset, step in enumerate(steps):
        now = NOW + timedelta(seconds=offset)
        if isinstance(step, DeadLetter):
            memory.put([step], now)
            headers = headers_of(step, now)
        else:
            memory.mark(step.ids, step.state, now)
            headers = headers_of_mark(step.ids, step.state, now)
        assert index.fold(Place(0, offset), read(tuple(headers), 0))
    for reason, state, after in [(None, None, None), *wished]:
        assert [
            (one, entry.reason, entry.attempts, entry.first_seen, entry.last_seen, entry.state)
            for one, entry in index.matching(reason, state, after)
        ] == [
            (one.letter.ingestion_id, one.letter.reason, one.attempts, one.first_seen, one.last_seen, one.state)
            for one in memory.page(reason=reason, state=state, after=after, limit=1_000)
        ]
    for partition in (0, 1):
        for incarnation in (1, 2):
            wanted = memory.offsets(TopicPartition(CLICKS.topic, partition), incarnation)
            assert index.offsets(partition, incarnation) == wanted


def test_it_knows_where_a_letter_was_put_last() -> None:
    index = LetterIndex(CLICKS.topic)
    for place in (Place(0, 3), Place(2, 1)):
        index.fold(place, read(tuple(headers_of(letter(1), NOW)), 0))
    ((_, entry),) = index.matching(None, None, None)
    assert entry.place == Place(2, 1)


def test_a_letter_of_another_topic_is_none_of_its() -> None:
    index = LetterIndex(CLICKS.topic)
    assert not index.fold(Place(0, 0), read(tuple(headers_of(letter(1, topic=ORDERS.topic), NOW)), 0))
    assert not index.fold(Place(0, 1), None)
    assert len(index) == 0
