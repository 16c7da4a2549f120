"""Ingestion ids and runs of records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.domain.ingestion import (
    HEADER_OVERHEAD,
    KEY_OVERHEAD,
    RECORD_OVERHEAD,
    IngestionId,
    RecordRun,
    TopicPartition,
    ingestion_id_prefix,
)

TOPICS = st.one_of(
    st.sampled_from(["raw.clicks.v1", "a-1", "-1-2-3", "1-2", "a.b_c-d", "raw-2-5-7", "-", "."]),
    st.from_regex(r"[A-Za-z0-9._-]{1,60}", fullmatch=True),
)
NUMBERS = st.integers(0, 2**63 - 1)


@given(TOPICS, st.integers(1, 10**6), NUMBERS, NUMBERS)
def test_the_text_of_an_id_reads_back_as_the_same_id(topic: str, incarnation: int, partition: int, offset: int) -> None:
    one = IngestionId(topic, incarnation, partition, offset)
    assert IngestionId.parse(str(one)) == one
    assert str(one) == f"{ingestion_id_prefix(topic, incarnation, partition)}{offset}"


@given(*[st.builds(IngestionId, TOPICS, st.integers(1, 3), st.integers(0, 30), st.integers(0, 300))] * 2)
def test_different_places_have_different_texts(one: IngestionId, other: IngestionId) -> None:
    assert (str(one) == str(other)) == (one == other)


def test_the_first_incarnation_has_the_plain_form_and_later_ones_say_which() -> None:
    assert str(IngestionId("raw.clicks.v1", 1, 0, 237)) == "raw.clicks.v1-0-237"
    assert str(IngestionId("raw.clicks.v1", 2, 0, 237)) == "raw.clicks.v1@2-0-237"
    assert IngestionId.parse("a-b@12-3-4") == ("a-b", 12, 3, 4)


@pytest.mark.parametrize(
    "text",
    ["", "clicks", "clicks-1", "-1-2", "clicks-1-", "clicks@0-1-2", "clicks@-1-2", "a@1@2-3-4", "clicks-1-2\n",
     "a b-1-2", "clicks-1-٣", "clicks--1-2x", "@2-1-2"],
)  # fmt: skip
def test_what_is_no_id_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="expected topic-partition-offset"):
        IngestionId.parse(text)


@given(st.text(max_size=30))
def test_any_other_text_is_refused_or_is_an_id(text: str) -> None:
    try:
        one = IngestionId.parse(text)
    except ValueError:
        return
    assert IngestionId.parse(str(one)) == one


def test_a_run_needs_columns_of_one_length_and_a_record() -> None:
    place = TopicPartition("raw.clicks.v1", 0)
    with pytest.raises(ValueError, match="at least one"):
        RecordRun(place, [], [], [])
    with pytest.raises(ValueError, match=r"raw\.clicks\.v1-0 needs as many offsets as values"):
        RecordRun(place, [1, 2], [b""], [0, 0])
    with pytest.raises(ValueError, match="as many offsets as values"):
        RecordRun(place, [1], [b""], [])


@given(st.lists(st.tuples(st.integers(1, 9), st.binary(max_size=9)), min_size=1, max_size=9), st.data())
def test_a_part_of_a_run_is_the_run_of_that_part(records: list[tuple[int, bytes]], data: st.DataObject) -> None:
    offsets, at = [], 0
    for step, _ in records:
        at += step
        offsets.append(at)
    values = [value for _, value in records]
    keys = data.draw(st.sampled_from([None, values]))
    headers = data.draw(st.sampled_from([None, [(("h", value),) for value in values]]))
    run = RecordRun(TopicPartition("t", 0), offsets, values, offsets, keys, headers)
    start = data.draw(st.integers(0, len(run) - 1))
    stop = data.draw(st.integers(start + 1, len(run)))

    part = run.part(start, stop)

    assert (part.first_offset, part.next_offset) == (offsets[start], offsets[stop - 1] + 1)
    bodies = sum(map(len, values[start:stop]))
    size = bodies + RECORD_OVERHEAD * (stop - start)
    if keys is not None:
        size += bodies + KEY_OVERHEAD * sum(1 for value in values[start:stop] if value)
    if headers is not None:
        size += bodies + (1 + HEADER_OVERHEAD) * (stop - start)
    assert part.size_bytes == size == sum(part.sizes())
    for index in range(start, stop):
        assert part.key(index - start) == run.key(index) == (None if keys is None else values[index])
        assert part.headers_of(index - start) == run.headers_of(index)
        assert part.values[index - start] == values[index]
        assert part.timestamps_ms[index - start] == offsets[index]
    assert run.part(0, len(run)) == run
