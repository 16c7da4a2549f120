"""Offsets that Kafka does not keep, never had, or uses for itself."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic

import pytest
from confluent_kafka import Producer

from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.domain.ingestion import Position
from flowguard.ports.event_log import EventLog
from tests.adapters.kafka.source_case import KafkaCase
from tests.adapters.kafka.storage import KafkaLogStorage
from tests.contracts.log_case import P0, P1, TOPIC, Member, publish, things
from tests.contracts.source_reading import topic_with

pytestmark = pytest.mark.kafka


class TestOffsets(KafkaCase):
    def reader(self, storage: KafkaLogStorage, wanted: int) -> Member:
        """One that has read that many records."""
        member = Member(storage.source([TOPIC]))
        self.until(lambda: len(member.values()) == wanted, member)
        return member

    def test_retention_passes_a_paused_reader(self, log: EventLog, storage: KafkaLogStorage) -> None:
        topic_with(log, storage, *range(5))
        member = self.reader(storage, 5)
        member.source.pause([P0])
        publish(storage, things(*range(5, 10)))
        storage.truncate(P0, 8)
        member.source.resume({P0: None})
        self.until(lambda: 9 in member.offsets(P0), member)
        assert member.gaps == [(P0, 5, 7)]
        assert member.offsets(P0) == [0, 1, 2, 3, 4, 8, 9]
        publish(storage, things("later"))
        self.until(lambda: 10 in member.offsets(P0), member)
        assert member.gaps == [(P0, 5, 7)]
        assert [how for how, _ in member.told] == ["assigned"]

    def test_retention_passes_a_reader_again_and_again(self, log: EventLog, storage: KafkaLogStorage) -> None:
        topic_with(log, storage, 0)
        member = self.reader(storage, 1)
        for end in (4, 7, 10):
            member.source.pause([P0])
            publish(storage, things(*range(end - 3, end)))
            storage.truncate(P0, end - 1)
            member.source.resume({P0: None})
            self.until(lambda: end - 1 in member.offsets(P0), member)  # noqa: B023  # called at once
        assert member.gaps == [(P0, 1, 2), (P0, 4, 5), (P0, 7, 8)]

    def test_the_other_partitions_go_on_meanwhile(self, log: EventLog, storage: KafkaLogStorage) -> None:
        log.ensure({TOPIC: 2})
        producer = Producer({"bootstrap.servers": storage.options.bootstrap})

        def put(number: int) -> None:
            for partition in (0, 1):
                producer.produce(TOPIC, b"%d" % number, partition=partition)
            producer.flush()

        put(0)
        member = self.reader(storage, 2)
        member.source.pause([P0])
        put(1)
        self.until(lambda: member.offsets(P1) == [0, 1], member)
        storage.truncate(P0, 2)
        member.source.resume({P0: None})
        put(2)
        self.until(lambda: member.offsets(P0) == [0, 2] and member.offsets(P1) == [0, 1, 2], member)
        assert member.gaps == [(P0, 1, 1)]
        assert [how for how, _ in member.told] == ["assigned"]

    def until_refused(self, member: Member) -> None:
        """Poll on: what one broker said once is asked again, before it is believed."""
        deadline = monotonic() + 20
        while monotonic() < deadline:
            with suppress(TransientError):
                self.until(lambda: False, member)

    def test_a_log_that_ends_before_the_start_is_refused(self, log: EventLog, storage: KafkaLogStorage) -> None:
        topic_with(log, storage, *range(5))
        member = self.reader(storage, 5)
        member.source.resume({P0: 9})
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=r"raw\.things\.v1-0 ends at offset 5, and was read up to 9"):
                self.until_refused(member)
        assert len(member.values()) == 5
        member.source.resume({P0: 3})
        self.until(lambda: len(member.values()) == 7, member)

    def test_a_commit_past_the_end_is_refused_too(self, log: EventLog, storage: KafkaLogStorage) -> None:
        topic_with(log, storage, *range(5))
        member = Member(storage.source([TOPIC]), resumes=False)
        self.until(lambda: P0 in member.owned, member)
        member.source.commit([Position(P0, 6)])
        member.source.resume({P0: None})
        with pytest.raises(ConfigurationError, match="ends at offset 5, and was read up to 6"):
            self.until_refused(member)

    def test_offsets_of_transactions_are_no_gaps(self, log: EventLog, storage: KafkaLogStorage) -> None:
        """A committed one, an aborted one, and their markers."""
        topic_with(log, storage, "a")
        producer = Producer({"bootstrap.servers": storage.options.bootstrap, "transactional.id": "tests"})
        producer.init_transactions()
        for end in (producer.commit_transaction, producer.abort_transaction):
            producer.begin_transaction()
            for value in (b"b", b"c"):
                producer.produce(TOPIC, value, partition=0)
            producer.flush()
            end()
        publish(storage, things("d"))
        member = self.reader(storage, 4)
        assert member.values() == [b"a", b"b", b"c", b"d"]
        assert member.offsets(P0) == [0, 1, 2, 7]
        for start in (3, 4, 6):  # a marker, an aborted record, another marker
            member.source.resume({P0: start})
            read = len(member.values())
            self.until(lambda: len(member.values()) > read, member)  # noqa: B023  # called at once
            assert member.offsets(P0)[-1] == 7
        assert member.gaps == []

    def test_what_a_transaction_holds_back_waits(self, log: EventLog, storage: KafkaLogStorage) -> None:
        topic_with(log, storage, "a")
        producer = Producer({"bootstrap.servers": storage.options.bootstrap, "transactional.id": "tests"})
        producer.init_transactions()
        producer.begin_transaction()
        producer.produce(TOPIC, b"b", partition=0)
        producer.flush()
        publish(storage, things("c"))
        member = self.reader(storage, 1)
        self.stays_quiet(member)
        producer.commit_transaction()
        self.until(lambda: len(member.values()) == 3, member)
        assert member.values() == [b"a", b"b", b"c"]

    def test_nothing_that_was_fetched_before_comes_after_a_move(self, log: EventLog, storage: KafkaLogStorage) -> None:
        """However much was ready, here and in the client."""
        log.ensure({TOPIC: 1})
        publish(storage, things(*range(400)))
        publish(storage, things(*(b"x" * 5_000 for _ in range(600))))
        member = Member(storage.source([TOPIC], fetch_bytes=20_000))
        for start in (300, 0, 999, 400):
            # Of the small ones many are taken at once, and then as many of the large ones.
            self.until(lambda: bool(member.runs) and member.offsets(P0)[-1] > 400, member)
            member.source.resume({P0: start})
            member.runs.clear()
            self.until(lambda: bool(member.runs), member)
            assert member.offsets(P0)[0] == start
        assert member.gaps == []
