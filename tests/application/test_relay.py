"""Relaying: dead letters go to their topic again, with their key, headers and first ingestion id, and land once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from flowguard.application.relay import DeadLetterFilter, relay
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.errors import TransientError
from flowguard.domain.ingestion import INGESTION_ID_HEADER, Headers, IngestionId, RecordRun, TopicPartition
from flowguard.ports.dead_letters import State
from flowguard.ports.publisher import EventPublisher, NewRecord, Receipt
from tests.application.pipeline import Pipeline
from tests.builders import CLICKS, NOW, ORDERS, event

PLACE = TopicPartition(CLICKS.topic, 0)
EVERYTHING = DeadLetterFilter()


def _replay(pipeline: Pipeline, wanted: DeadLetterFilter = EVERYTHING) -> int:
    async def go() -> int:
        publisher = pipeline.container.publisher()
        try:
            return await pipeline.container.dead_letter_replay(publisher=publisher).run(wanted)
        finally:
            await publisher.close()

    return asyncio.run(go())


def _records(pipeline: Pipeline) -> list[tuple[int, bytes | None, bytes, Headers]]:
    return [
        (offset, run.key(index), run.values[index], run.headers_of(index))
        for run in pipeline.container.event_log().read(PLACE, 0, 1_000)
        for index, offset in enumerate(run.offsets)
    ]


def _put(pipeline: Pipeline, *letters: DeadLetter) -> None:
    pipeline.container.dead_letters().put(letters, NOW)


def _letter(offset: int, value: bytes, headers: Headers = (), topic: str = CLICKS.topic) -> DeadLetter:
    reason = Reason.INVALID
    return DeadLetter(IngestionId(topic, 1, 0, offset), reason, "was wrong then", b"key", value, headers, 0, None)


def test_a_letter_goes_back_with_key_headers_and_first_id(pipeline: Pipeline) -> None:
    _put(pipeline, _letter(7, b"value", (("trace", b"\x00\xff"),)))
    assert _replay(pipeline) == 1
    first = (INGESTION_ID_HEADER, b"raw.clicks.v1-0-7")
    assert _records(pipeline) == [(0, b"key", b"value", (("trace", b"\x00\xff"), first))]
    assert [one.state for one in pipeline.container.dead_letters().page()] == [State.REPLAYED]


def test_an_id_from_an_earlier_relay_stays(pipeline: Pipeline) -> None:
    first = (INGESTION_ID_HEADER, b"raw.clicks.v1-0-7")
    _put(pipeline, _letter(90, b"value", (first,)))
    _replay(pipeline)
    assert _records(pipeline)[0][3] == (first,)


def test_a_letter_that_can_land_now_lands_under_its_first_id(pipeline: Pipeline) -> None:
    _put(pipeline, _letter(7, event(CLICKS, "a")))
    _replay(pipeline)
    pipeline.ingest()
    (row,) = pipeline.container.observer().recent("clicks")
    assert (row["ingestion_id"], row["source_offset"]) == ("raw.clicks.v1-0-7", 0)


def test_one_that_was_relayed_twice_lands_once(pipeline: Pipeline) -> None:
    _put(pipeline, _letter(7, event(CLICKS, "a")))
    _replay(pipeline)
    queue = pipeline.container.dead_letters()
    queue.mark([IngestionId(CLICKS.topic, 1, 0, 7)], State.OPEN, NOW)  # as if we had broken off before marking it
    _replay(pipeline)
    pipeline.ingest()
    assert len(_records(pipeline)) == 2
    assert pipeline.container.ledger().summary(CLICKS).rows == 1
    assert pipeline.container.auditor().run().ok


def test_only_what_matches_and_is_open_goes(pipeline: Pipeline) -> None:
    _put(pipeline, *(_letter(offset, str(offset).encode()) for offset in range(5)))
    _put(pipeline, _letter(0, b"order", topic=ORDERS.topic))
    queue = pipeline.container.dead_letters()
    queue.mark([IngestionId(CLICKS.topic, 1, 0, 1)], State.DISCARDED, NOW)
    ids = frozenset(IngestionId(CLICKS.topic, 1, 0, offset) for offset in (1, 2, 3))
    assert _replay(pipeline, DeadLetterFilter(ids=ids)) == 2
    assert _replay(pipeline, DeadLetterFilter(reason=Reason.MALFORMED)) == 0
    assert _replay(pipeline, DeadLetterFilter(topic=CLICKS.topic)) == 2
    assert [value for _, _, value, _ in _records(pipeline)] == [b"2", b"3", b"0", b"4"]
    assert [one.letter.value for one in queue.page(state=State.OPEN)] == [b"order"]


def test_looking_first_shows_the_same_letters_and_changes_nothing(pipeline: Pipeline) -> None:
    _put(pipeline, *(_letter(offset, b"x") for offset in range(3)))
    replay = pipeline.container.dead_letter_replay(page=2)
    assert [one.letter.ingestion_id.offset for one in replay.matching(EVERYTHING)] == [0, 1, 2]
    assert _records(pipeline) == []


class InstantConsumer(EventPublisher):
    """Rejects each record again the moment that it is published: the worst that can happen to a replay."""

    def __init__(self, pipeline: Pipeline, publisher: EventPublisher) -> None:
        self._pipeline = pipeline
        self._publisher = publisher
        self.published = 0

    async def publish(self, topic: str, records: Sequence[NewRecord]) -> Receipt:
        receipt = await self._publisher.publish(topic, records)
        self.published += len(records)
        assert self.published < 100, "it would go on for ever"
        for (_, offset), record in zip(receipt.places, records, strict=True):
            _put(self._pipeline, _letter(1_000 + offset, record.value, record.headers))
        return receipt

    async def check(self) -> None:
        await self._publisher.check()

    async def close(self) -> None:
        await self._publisher.close()


def test_what_is_rejected_again_meanwhile_is_not_replayed_again(pipeline: Pipeline) -> None:
    _put(pipeline, *(_letter(offset, b"x") for offset in range(5)))

    async def go() -> tuple[int, int]:
        publisher = InstantConsumer(pipeline, pipeline.container.publisher())
        done = await pipeline.container.dead_letter_replay(publisher=publisher, page=2).run(EVERYTHING)
        await publisher.close()
        return done, publisher.published

    assert asyncio.run(go()) == (5, 5)
    assert len(pipeline.container.dead_letters().page(state=State.OPEN)) == 5


@dataclass
class Refusing(EventPublisher):
    """Takes so many calls, and is away then."""

    left: int

    async def publish(self, topic: str, records: Sequence[NewRecord]) -> Receipt:
        if not self.left:
            raise TransientError("away")
        self.left -= 1
        return Receipt("id", [(0, offset) for offset, _ in enumerate(records)])

    async def check(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


def test_what_was_not_published_is_not_marked(pipeline: Pipeline) -> None:
    _put(pipeline, *(_letter(offset, b"x") for offset in range(4)))
    replay = pipeline.container.dead_letter_replay(publisher=Refusing(left=1), page=3)
    with pytest.raises(TransientError, match="away"):
        asyncio.run(replay.run(EVERYTHING))
    assert [one.state for one in pipeline.container.dead_letters().page()] == [State.REPLAYED] * 3 + [State.OPEN]


def test_runs_are_relayed_in_order_and_each_is_told_when_it_is_durable(pipeline: Pipeline) -> None:
    runs = [RecordRun(PLACE, [n, n + 5], [b"%d" % n, b"%d" % (n + 5)], [0, 0], [b"k", None]) for n in (0, 1)]

    async def go() -> list[tuple[RecordRun, int]]:
        publisher = pipeline.container.publisher()
        told = [(run, len(_records(pipeline))) async for run, _ in relay(publisher, runs)]
        await publisher.close()
        return told

    assert asyncio.run(go()) == [(runs[0], 2), (runs[1], 4)]
    assert [(key, value) for _, key, value, _ in _records(pipeline)] == [
        (b"k", b"0"),
        (None, b"5"),
        (b"k", b"1"),
        (None, b"6"),
    ]
