"""One row in 10,000 that Snowflake refuses costs itself, and few more writes."""

from __future__ import annotations

import asyncio
from contextlib import closing
from math import ceil, log2

import pytest

from flowguard.adapters.snowflake import SnowflakeEventSink
from flowguard.container import Container
from flowguard.domain.batching import BatchPolicy
from flowguard.domain.dead_letters import Reason
from flowguard.domain.rows import SinkBatch, WriteReport
from flowguard.entrypoints.consumer import Consumer
from flowguard.ports.publisher import EventPublisher, NewRecord
from flowguard.settings import Settings
from tests.builders import CLICKS, event
from tests.e2e.pipeline import wait_until
from tests.faults.warehouses import SnowflakeWarehouse

pytestmark = [pytest.mark.snowflake, pytest.mark.slow]

RECORDS = 10_000
POISON = 6_543
MOST_WRITES = 2 * ceil(log2(RECORDS))
"""Two for each time that a batch is halved."""


class CountingSink(SnowflakeEventSink):
    """Notes how many rows each write had."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.sizes: list[int] = []

    def write(self, batch: SinkBatch) -> WriteReport:
        self.sizes.append(len(batch))
        return super().write(batch)


@pytest.mark.parametrize("twice", [False, True], ids=["all new", "one came twice"])
def test_a_poison_row_in_10000(snow: SnowflakeWarehouse, twice: bool) -> None:
    """The column takes no NULL, and one click has no page: Snowflake does not say which."""
    batch = BatchPolicy(max_records=RECORDS)
    container = Container(settings=Settings(log_url="memory://", sink_url=snow.url, batch=batch))
    sink = CountingSink(snow.url)
    container.sink.override(sink)
    ids = [f"e{number}" for number in range(RECORDS)]
    if twice:
        ids[1] = ids[0]
    with container.closing(), closing(sink):
        container.migrate()
        snow.execute("ALTER TABLE clicks ALTER COLUMN page SET NOT NULL")
        container.event_log().ensure(container.topics())
        asyncio.run(publish(container.publisher(), ids))
        consumer = Consumer(container.ingestion)
        consumer.start()
        try:
            wait_until(lambda: container.observer().status()["streams"]["clicks"]["lag"] == 0, "all is resolved")
        finally:
            consumer.stop()
            assert consumer.join(60)
        (stored,) = container.dead_letters().page()
        assert (stored.letter.ingestion_id.offset, stored.letter.reason) == (POISON, Reason.REJECTED_BY_SINK)
        assert "NULL result in a non-nullable column" in stored.letter.error
        audited = container.auditor().run()
        assert audited.ok, audited
        assert container.ledger().summary(CLICKS).rows == RECORDS - 1 - twice
    # One of no rows only moves the position past the dead letter.
    first, *more = [size for size in sink.sizes if size]
    assert first == RECORDS
    assert 1 <= len(more) <= MOST_WRITES, sink.sizes


async def publish(publisher: EventPublisher, ids: list[str]) -> None:
    records = [
        NewRecord(b"k", event(CLICKS, one, page=None if at == POISON else "/menu")) for at, one in enumerate(ids)
    ]
    await publisher.publish(CLICKS.topic, records)
    await publisher.close()
