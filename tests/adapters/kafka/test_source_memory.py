from __future__ import annotations

import os
import sys
from threading import Event
from time import monotonic

import pytest
from confluent_kafka import Producer

from flowguard.ports.event_log import EventLog
from tests.adapters.kafka.source_case import KafkaCase
from tests.adapters.kafka.storage import KafkaLogStorage
from tests.contracts.log_case import TOPIC, Member

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm"),
]

MEGABYTE = 1024 * 1024


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123  # no file of ours
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class TestMemory(KafkaCase):
    @pytest.mark.parametrize("size", [100, 20_000], ids=["small records", "large records"])
    def test_a_slow_reader_holds_little_of_a_long_topic(
        self, log: EventLog, storage: KafkaLogStorage, size: int
    ) -> None:
        log.ensure({TOPIC: 4})
        producer = Producer({"bootstrap.servers": storage.options.bootstrap, "linger.ms": 50})
        value = os.urandom(size)
        for number in range(100 * MEGABYTE // (size + 300)):
            while True:
                try:
                    producer.produce(TOPIC, value, partition=number % 4)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.flush()
        del producer
        member = Member(storage.source([TOPIC], fetch_bytes=100_000))
        before, most, slowly, deadline = resident_bytes(), 0, Event(), monotonic() + 3
        while monotonic() < deadline or len(member.runs) < 10:
            member.poll(0.1)
            slowly.wait(0.05)  # meanwhile, the client fetches as much as it may
            most = max(most, resident_bytes() - before)
        assert sum(map(len, member.values())) < 20 * MEGABYTE
        assert most < 60 * MEGABYTE
