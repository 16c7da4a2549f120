"""One row in 5,000 that the database refuses costs itself, and few more writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from math import ceil, log2

import psycopg
import pytest

from flowguard.adapters.postgres import PostgresEventSink
from flowguard.container import Container
from flowguard.domain.dead_letters import Reason
from flowguard.domain.rows import SinkBatch, WriteReport
from flowguard.entrypoints.consumer import Consumer
from flowguard.ports.publisher import EventPublisher, NewRecord
from flowguard.settings import Settings
from tests.builders import CLICKS, event
from tests.e2e.pipeline import wait_until

pytestmark = pytest.mark.postgres

RECORDS = 5_000
POISON = 3_210
REFUSE = f"""
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF new.source_offset = {POISON} THEN RAISE check_violation USING MESSAGE = 'refused by a rule of ours'; END IF;
      RETURN new;
    END $$
"""
NAMED = 1
"""More writes, where the server says which row it is."""
BISECTED = 2 * ceil(log2(RECORDS))
"""Otherwise: two for each time that the batch is halved."""


class CountingSink(PostgresEventSink):
    """Notes how many rows each write had."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.sizes: list[int] = []

    def write(self, batch: SinkBatch) -> WriteReport:
        self.sizes.append(len(batch))
        return super().write(batch)


WAYS = {
    "constraint": ([f"ALTER TABLE clicks ADD CHECK (source_offset <> {POISON})"], NAMED, BISECTED),
    # COPY tells its line, also of a trigger's error; the INSERT of the slow path has no lines.
    "trigger": (
        [REFUSE, "CREATE TRIGGER refuse BEFORE INSERT ON clicks FOR EACH ROW EXECUTE FUNCTION refuse()"],
        NAMED,
        BISECTED,
    ),
    "deferred trigger": (
        [
            REFUSE,
            """
            CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON clicks DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION refuse()
            """,
        ],
        BISECTED,
        BISECTED,
    ),
}
"""How a table may refuse a row, and how many writes more that may cost: of new rows, and where one came twice."""


@pytest.mark.parametrize("twice", [False, True], ids=["all new", "one came twice"])
@pytest.mark.parametrize("way", WAYS)
def test_a_poison_row_in_5000(postgres_url: str, way: str, twice: bool) -> None:
    statements, when_new, when_twice = WAYS[way]
    container = Container(settings=Settings(log_url="memory://", sink_url=postgres_url))
    sink = CountingSink(postgres_url)
    container.sink.override(sink)
    ids = [f"e{number}" for number in range(RECORDS)]
    if twice:
        ids[1] = ids[0]
    with container.closing(), closing(sink):
        container.migrate()
        container.event_log().ensure(container.topics())
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())
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
        audited = container.auditor().run()
        assert audited.ok, audited
        assert container.ledger().summary(CLICKS).rows == RECORDS - 1 - twice
    # One of no rows only moves the position past the dead letter.
    first, *more = [size for size in sink.sizes if size]
    assert first == RECORDS
    assert 1 <= len(more) <= (when_twice if twice else when_new), sink.sizes


async def publish(publisher: EventPublisher, ids: Sequence[str]) -> None:
    await publisher.publish(CLICKS.topic, [NewRecord(b"k", event(CLICKS, one)) for one in ids])
    await publisher.close()
