"""What every EventPublisher must do."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import ClassVar

import pytest

from flowguard.domain.audit import OffsetRanges
from flowguard.domain.errors import BackpressureError, ConfigurationError, TransientError
from flowguard.domain.ingestion import Position, TopicPartition
from flowguard.ports.event_log import EventLog
from flowguard.ports.publisher import EventPublisher, NewRecord, Receipt
from tests.contracts.log_case import GROUP, P0, P1, TOPIC, LogCase, Member, publish, read_all, things, values_of
from tests.contracts.storage import LogStorage


class PublisherContract(LogCase):
    """Set `adapter`, and give the fixture `storage`, a fresh LogStorage."""

    adapter: ClassVar[type[EventPublisher]]

    def using(self, storage: LogStorage, use: Callable[[EventPublisher], Awaitable[object]]) -> None:
        """Run with a publisher that is closed at the end."""

        async def main() -> None:
            publisher = storage.publisher()
            assert isinstance(publisher, self.adapter)
            try:
                await use(publisher)
            finally:
                await publisher.close()

        asyncio.run(main())

    # -- where records go --------------------------------------------------------------------------------------------

    def test_a_receipt_tells_where_each_record_is(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 3})
        records = [NewRecord(b"%d" % (number % 7) if number % 3 else None, b"%d" % number) for number in range(60)]

        async def use(publisher: EventPublisher) -> None:
            for start, stop in ((0, 1), (1, 40), (40, 60)):
                some = records[start:stop]
                receipt = await publisher.publish(TOPIC, some)
                described = log.describe(TOPIC, GROUP)
                assert described is not None
                assert receipt.topic_id == described.topic_id
                assert len(receipt.places) == len(some)
                for (partition, offset), record in zip(receipt.places, some, strict=True):
                    (run,) = log.read(TopicPartition(TOPIC, partition), offset, offset)
                    assert (run.key(0), run.values[0]) == (record.key, record.value)

        self.using(storage, use)

    def test_equal_keys_share_a_partition_in_order(self, log: EventLog, storage: LogStorage) -> None:
        """Over calls, and over publishers."""
        log.ensure({TOPIC: 3})
        of_key: dict[bytes, set[int]] = defaultdict(set)
        for call in range(3):
            records = [NewRecord(b"k%d" % (number % 9), b"%d.%d" % (call, number)) for number in range(27)]
            receipt = publish(storage, records)
            for record, (partition, _) in zip(records, receipt.places, strict=True):
                of_key[record.key or b""].add(partition)
        assert [len(partitions) for partitions in of_key.values()] == [1] * 9
        for number in range(3):
            runs = read_all(log, TopicPartition(TOPIC, number))
            order = [tuple(map(int, value.split(b"."))) for value in values_of(runs)]
            assert order == sorted(order)

    def test_keys_and_records_without_one_spread(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 3})
        keyed = publish(storage, [NewRecord(b"%d" % number, b"x") for number in range(60)])
        assert {partition for partition, _ in keyed.places} == {0, 1, 2}
        keyless = publish(storage, [NewRecord(None, b"x")] * 60)
        assert {partition for partition, _ in keyless.places} <= {0, 1, 2}
        assert sum(len(log.logged(TopicPartition(TOPIC, number))) for number in range(3)) == 120

    def test_publishing_nothing_keeps_nothing(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        receipt = publish(storage, [])
        described = log.describe(TOPIC, GROUP)
        assert described is not None
        assert (receipt.topic_id, list(receipt.places)) == (described.topic_id, [])
        assert described.spans[0].next_offset == 0

    def test_a_topic_that_is_not_there_is_not_made_up(self, log: EventLog, storage: LogStorage) -> None:
        for records in ([], things("a")):
            with pytest.raises(ConfigurationError, match=TOPIC):
                publish(storage, records)
        assert log.describe(TOPIC, GROUP) is None

    def test_a_topic_made_again_has_another_id(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})

        async def use(publisher: EventPublisher) -> None:
            before = await publisher.publish(TOPIC, things("a", "b"))
            storage.delete_topic(TOPIC)
            with pytest.raises(ConfigurationError):
                await publisher.publish(TOPIC, things("nowhere"))
            log.ensure({TOPIC: 1})
            after = await publisher.publish(TOPIC, things("c"))
            described = log.describe(TOPIC, GROUP)
            assert described is not None
            assert before.topic_id != after.topic_id == described.topic_id
            assert list(after.places) == [(0, 0)]

        self.using(storage, use)
        assert values_of(read_all(log, P0)) == [b"c"]

    # -- many at once ------------------------------------------------------------------------------------------------

    def test_concurrent_calls_are_each_all_or_nothing_and_in_order(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 2})
        calls = [
            [NewRecord(b"%d" % (number % 5), b"%d.%d" % (call, number)) for number in range(call % 7 + 1)]
            for call in range(60)
        ]

        async def use(publisher: EventPublisher) -> None:
            receipts = await asyncio.gather(*(publisher.publish(TOPIC, call) for call in calls))
            places = [place for receipt in receipts for place in receipt.places]
            assert len(set(places)) == len(places) == sum(map(len, calls))
            held = {
                (number, offset): value
                for number in (0, 1)
                for run in read_all(log, TopicPartition(TOPIC, number))
                for offset, value in zip(run.offsets, run.values, strict=True)
            }
            assert {
                place: record.value
                for call, receipt in zip(calls, receipts, strict=True)
                for record, place in zip(call, receipt.places, strict=True)
            } == held
            for receipt in receipts:
                for number in (0, 1):
                    offsets = [offset for partition, offset in receipt.places if partition == number]
                    assert offsets == sorted(offsets)

        self.using(storage, use)

    def test_one_bad_call_costs_its_neighbours_nothing(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})

        async def use(publisher: EventPublisher) -> None:
            done = await asyncio.gather(
                *(publisher.publish(TOPIC if call % 3 else "no.such.topic", things(call)) for call in range(9)),
                return_exceptions=True,
            )
            assert [isinstance(one, ConfigurationError) for one in done] == [call % 3 == 0 for call in range(9)]

        self.using(storage, use)
        assert sorted(values_of(read_all(log, P0))) == [b"1", b"2", b"4", b"5", b"7", b"8"]

    def test_a_call_that_is_given_up_leaves_the_others_alone(self, log: EventLog, storage: LogStorage) -> None:
        """The client hung up. Its records may be in the log, and nothing else happens."""
        log.ensure({TOPIC: 1})

        async def use(publisher: EventPublisher) -> None:
            calls = [asyncio.ensure_future(publisher.publish(TOPIC, things(call))) for call in range(6)]
            await asyncio.sleep(0)
            calls[0].cancel()
            calls[3].cancel()
            done = await asyncio.gather(*calls, return_exceptions=True)
            kept = {b"%d" % call for call, one in enumerate(done) if isinstance(one, Receipt)}
            assert kept >= {b"1", b"2", b"4", b"5"}
            await publisher.publish(TOPIC, things("later"))
            values = values_of(read_all(log, P0))
            assert kept <= set(values) <= {b"%d" % call for call in range(6)} | {b"later"}
            assert len(set(values)) == len(values)

        self.using(storage, use)

    # -- life --------------------------------------------------------------------------------------------------------

    def test_what_was_acknowledged_is_there_for_others_at_once(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})

        async def use(publisher: EventPublisher) -> None:
            for number in range(5):
                await publisher.publish(TOPIC, things(number))
                assert log.logged(P0) == OffsetRanges([(0, number)])

        self.using(storage, use)

    def test_a_publisher_in_order_passes_its_check(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        self.using(storage, lambda publisher: publisher.check())
        assert log.logged(P0) == OffsetRanges()

    def test_closing_flushes_what_is_under_way(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})

        async def main() -> list[Receipt | BaseException]:
            publisher = storage.publisher()
            calls = [asyncio.ensure_future(publisher.publish(TOPIC, things(call))) for call in range(20)]
            await asyncio.sleep(0)
            await publisher.close()
            return await asyncio.gather(*calls, return_exceptions=True)

        done = asyncio.run(main())
        kept = {b"%d" % call for call, one in enumerate(done) if isinstance(one, Receipt)}
        assert all(isinstance(one, Receipt | TransientError) for one in done)
        assert kept
        assert kept <= set(values_of(read_all(log, P0)))

    def test_a_closed_publisher_says_so_and_closes_twice(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})

        async def main() -> None:
            unused, used = storage.publisher(), storage.publisher()
            await used.publish(TOPIC, things("a"))
            for publisher in (unused, used):
                await publisher.close()
                await publisher.close()
                with pytest.raises(TransientError):
                    await publisher.publish(TOPIC, things("b"))
                with pytest.raises(TransientError):
                    await publisher.check()

        asyncio.run(main())
        assert values_of(read_all(log, P0)) == [b"a"]


class BoundedLogContract(LogCase):
    """For logs that keep a bound of their own. The fixture `storage` gives one that is full with `limit_bytes`."""

    limit_bytes: ClassVar[int] = 1_000_000
    record = NewRecord(b"one key", b"x" * 10_000)

    def fill(self, storage: LogStorage) -> int:
        """Publish until it is full; returns how many records it took, ten a call."""
        taken = 0
        with pytest.raises(BackpressureError) as full:  # noqa: PT012  # some call is refused, whichever
            while taken * len(self.record.value) < 10 * self.limit_bytes:
                publish(storage, [self.record] * 10)
                taken += 10
        assert full.value.retry_after_s > 0
        return taken

    def logged(self, log: EventLog) -> int:
        return len(log.logged(P0)) + len(log.logged(P1))

    def test_a_full_log_keeps_nothing_of_a_call(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 2})
        taken = self.fill(storage)
        assert taken >= self.limit_bytes // len(self.record.value) // 4
        assert self.logged(log) == taken

    def test_what_nobody_has_committed_is_never_dropped(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 2})
        member = Member(storage.source([TOPIC]))
        taken = self.fill(storage)
        self.until(lambda: len(member.values()) == taken, member)
        with pytest.raises(BackpressureError):
            publish(storage, [self.record] * 10)
        (place,) = {run.partition for run in member.runs}
        assert len(read_all(log, place)[0].values) > 0
        member.source.commit([Position(place, taken // 2)])
        publish(storage, [self.record] * 10)
        described = log.describe(TOPIC, GROUP)
        assert described is not None
        earliest = described.spans[place.partition].earliest
        assert 0 < earliest <= taken // 2
        assert len(values_of(read_all(log, place))) == taken + 10 - earliest
        assert log.logged(place) == OffsetRanges([(0, taken + 9)])
        member.source.close()

    def test_the_slowest_group_counts(self, log: EventLog, storage: LogStorage) -> None:
        log.ensure({TOPIC: 1})
        fast, slow = (Member(storage.source([TOPIC], group)) for group in ("fast", "slow"))
        self.until(lambda: P0 in fast.owned and P0 in slow.owned, fast, slow)
        taken = self.fill(storage)
        fast.source.commit([Position(P0, taken)])
        with pytest.raises(BackpressureError):
            publish(storage, [self.record] * 10)
        slow.source.commit([Position(P0, taken)])
        publish(storage, [self.record] * 10)
        assert self.logged(log) == taken + 10
        for member in (fast, slow):
            member.source.close()
