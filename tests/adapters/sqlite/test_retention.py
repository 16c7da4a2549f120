"""Retention by size: what was consumed makes room, oldest first, and the file stays as large as it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from flowguard.domain.errors import BackpressureError
from flowguard.domain.ingestion import Position, TopicPartition
from flowguard.ports.publisher import NewRecord
from tests.adapters.sqlite.storage import SqliteLogStorage
from tests.contracts.log_case import GROUP, P0, TOPIC, Member, publish

OTHER = TopicPartition("raw.others.v1", 0)
TEN_KB = NewRecord(None, b"x" * 10_000)
LIMIT = 1_000_000


@pytest.fixture
def storage(tmp_path: Path) -> SqliteLogStorage:
    storage = SqliteLogStorage(tmp_path, max_bytes=LIMIT)
    storage.event_log().ensure({TOPIC: 1, OTHER.topic: 1})
    return storage


def earliest(storage: SqliteLogStorage, place: TopicPartition) -> int:
    described = storage.event_log().describe(place.topic, GROUP)
    assert described is not None
    return described.spans[0].earliest


def test_a_log_that_is_consumed_never_fills_and_its_file_does_not_grow(storage: SqliteLogStorage) -> None:
    member = Member(storage.source([TOPIC]))
    sizes = []

    async def publish_and_consume() -> None:
        publisher = storage.publisher()
        for number in range(200):  # twenty times what the log may hold
            await publisher.publish(TOPIC, [TEN_KB] * 10)
            while len(member.values()) < 10 * (number + 1):
                member.poll(1.0)
            member.source.commit([Position(P0, 10 * (number + 1))])
            sizes.append(storage.path.stat().st_size)
        await publisher.close()

    asyncio.run(publish_and_consume())
    assert member.offsets(P0) == list(range(2_000))
    assert len(storage.event_log().logged(P0)) == 2_000
    assert 0 < max(sizes) < 2 * LIMIT
    storage.close()


def test_the_oldest_goes_first_over_all_topics_and_no_more_than_is_needed(storage: SqliteLogStorage) -> None:
    member = Member(storage.source([TOPIC, OTHER.topic]))
    publish(storage, [TEN_KB] * 30)
    publish(storage, [TEN_KB] * 30, OTHER.topic)
    publish(storage, [TEN_KB] * 30)
    while len(member.values()) < 90:
        member.poll(1.0)
    member.source.commit([Position(P0, 60), Position(OTHER, 30)])
    publish(storage, [TEN_KB] * 20)
    assert (earliest(storage, P0), earliest(storage, OTHER)) == (30, 0)
    publish(storage, [TEN_KB] * 20)
    assert (earliest(storage, P0), earliest(storage, OTHER)) == (30, 30)
    storage.close()


def test_a_full_log_says_who_holds_it(storage: SqliteLogStorage) -> None:
    for _ in range(9):
        publish(storage, [TEN_KB] * 10)
    with pytest.raises(BackpressureError, match="no consumer group has read it: start the consumer, or raise"):
        publish(storage, [TEN_KB] * 10)
    member = Member(storage.source([TOPIC], "slow"))
    member.poll(0.0)
    member.source.commit([Position(P0, 7)])
    with pytest.raises(BackpressureError, match=r"group slow stands at raw\.things\.v1-0-7; let the consumer catch up"):
        publish(storage, [TEN_KB] * 10)

    async def check() -> None:
        await storage.publisher().check()

    member.source.commit([Position(P0, 90)])
    asyncio.run(check())
    publish(storage, [TEN_KB] * 10)
    storage.close()


def test_what_is_larger_than_the_log_is_refused(storage: SqliteLogStorage) -> None:
    with pytest.raises(BackpressureError):
        publish(storage, [TEN_KB] * 101)
    publish(storage, [TEN_KB])
    storage.close()
