"""For adapters whose storage outlives their process: what was acknowledged is there after a kill -9.

On top of the port's own contract. The storage travels to another process, so it has to be picklable while no adapter
was made on it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable

import pytest

from flowguard.domain.ingestion import Assignment, Position
from flowguard.domain.rows import Merged, Move
from tests.builders import CLICKS, NOW, letter, rows
from tests.contracts.log_case import P0, TOPIC, LogCase, Member, publish, read_all, things, values_of
from tests.contracts.sink_case import FIRST, HERE, batch, claim, land, position
from tests.contracts.storage import DeadLetterStorage, LogStorage, SinkStorage


def killed_after(act: Callable[..., None], *arguments: object) -> None:
    """Run it in a process of its own, which is killed as soon as it is done."""
    process = multiprocessing.get_context("spawn").Process(target=_act_and_die, args=(act, arguments))
    process.start()
    process.join(60)
    if process.is_alive():
        process.kill()
        process.join()
        pytest.fail("it did not come to its end")
    assert process.exitcode == -signal.SIGKILL, "it failed before it was killed"
    process.close()


def _act_and_die(act: Callable[..., None], arguments: tuple[object, ...]) -> None:
    act(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)


def publish_unclosed(storage: LogStorage, count: int) -> None:
    storage.event_log().ensure({TOPIC: 1})

    async def main() -> None:
        publisher = storage.publisher()
        await asyncio.gather(*(publisher.publish(TOPIC, things(number)) for number in range(count)))
        os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(main())


def commit_unclosed(storage: LogStorage) -> None:
    storage.event_log().ensure({TOPIC: 1})
    publish(storage, things("a", "b", "c"))
    member = Member(storage.source([TOPIC]))
    while P0 not in member.owned:
        member.poll(1.0)
    member.source.commit([Position(P0, 2)])


def land_unclosed(storage: SinkStorage) -> None:
    sink = storage.sink()
    ours = claim(sink)
    land(sink, rows(CLICKS, range(700)), ours)
    sink.write(batch(rows(CLICKS, range(700, 703)), moves=(Move(ours, 700, 710),)))


def put_unclosed(storage: DeadLetterStorage) -> None:
    storage.dead_letters().put([letter(offset) for offset in range(5)], NOW)


class DurableLogContract(LogCase):
    def test_what_was_acknowledged_survives_a_kill(self, storage: LogStorage) -> None:
        killed_after(publish_unclosed, storage, 20)
        publish(storage, things("after"))
        log = storage.event_log()
        assert sorted(values_of(read_all(log, P0))) == sorted([b"%d" % number for number in range(20)] + [b"after"])
        log.close()

    def test_what_was_committed_survives_a_kill(self, storage: LogStorage) -> None:
        killed_after(commit_unclosed, storage)
        log = storage.event_log()
        described = log.describe(TOPIC, "flowguard")
        assert described is not None
        assert described.spans[0].committed == 2
        log.close()


class DurableSinkContract:
    @pytest.fixture
    def storage(self) -> SinkStorage:
        raise NotImplementedError

    def test_what_landed_survives_a_kill_with_its_positions(self, storage: SinkStorage) -> None:
        killed_after(land_unclosed, storage)
        ledger = storage.ledger()
        assert ledger.summary(CLICKS).rows == 703
        assert position(ledger).next_offset == 710
        sink = storage.sink()
        (reclaimed,) = sink.claim("heir", [Assignment(HERE, FIRST)])
        assert reclaimed.next_offset == 710
        assert sink.write(batch(rows(CLICKS, range(690, 703)))).merged == {"clicks": Merged(0, 13)}
        sink.close()


class DurableDeadLetterContract:
    @pytest.fixture
    def storage(self) -> DeadLetterStorage:
        raise NotImplementedError

    def test_what_was_put_survives_a_kill(self, storage: DeadLetterStorage) -> None:
        killed_after(put_unclosed, storage)
        queue = storage.dead_letters()
        assert [one.letter for one in queue.page()] == [letter(offset) for offset in range(5)]
        queue.close()
