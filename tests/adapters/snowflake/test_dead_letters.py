"""Dead letters in Snowflake, beyond the contract: turns, statements, what is missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from flowguard.adapters.snowflake import Part, SnowflakeDeadLetterQueue, migrate
from flowguard.domain.errors import ConfigurationError
from flowguard.ports.dead_letters import State
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.builders import CATALOG, NOW, ORDERS, letter
from tests.servers.snowflake import Faults

pytestmark = pytest.mark.snowflake


def test_writers_that_put_the_same_at_once_double_nothing(storage: SnowflakeStorage) -> None:
    letters = [letter(offset) for offset in range(50)]
    queues = [storage.dead_letters() for _ in range(4)]
    with ThreadPoolExecutor(len(queues)) as beside:
        list(beside.map(lambda queue: queue.put(letters, NOW), queues))
    page = queues[0].page(limit=1_000)
    assert [one.letter for one in page] == letters
    assert {one.attempts for one in page} == {len(queues)}
    assert storage.execute("SELECT COUNT(*) FROM CLICKS_DLQ") == [(50,)]


def test_a_thousand_letters_take_as_many_statements_as_one(storage: SnowflakeStorage) -> None:
    queue = storage.dead_letters()

    def taken(count: int, size: int) -> int:
        before = queue.statements
        queue.put([replace(letter(offset), value=b"x" * size) for offset in range(count)], NOW)
        return queue.statements - before

    assert (taken(1, 10), taken(1_000, 10)) == (3, 3)
    by_file = taken(1, 2_000_000) - 2  # this connection's temporary table and stage
    assert (by_file, taken(1_000, 2_000)) == (6, 6)


def test_each_event_type_has_a_table_of_its_own(storage: SnowflakeStorage) -> None:
    queue = storage.dead_letters()
    some = [letter(1), letter(2, topic=ORDERS.topic), letter(3, topic=ORDERS.topic)]
    queue.put([replace(one, value=b"no event: \xc3\xa9") for one in some], NOW)
    queue.mark([some[1].ingestion_id], State.DISCARDED, NOW)
    text = 'SELECT "OFFSET", STATE, BASE64_DECODE_STRING(VALUE_BASE64) FROM {} ORDER BY 1'
    assert storage.execute(text.format("CLICKS_DLQ")) == [(1, "open", "no event: é")]
    assert storage.execute(text.format("ORDERS_DLQ")) == [
        (2, "discarded", "no event: é"),
        (3, "open", "no event: é"),
    ]


def test_a_letter_of_an_unknown_topic_is_refused_with_the_way_to_mend_it(storage: SnowflakeStorage) -> None:
    queue = storage.dead_letters()
    with pytest.raises(ConfigurationError, match=r"dead letters of raw\.other\.v1.*flowguard migrate"):
        queue.put([letter(1), letter(2, topic="raw.other.v1")], NOW)
    assert queue.page() == []


def test_what_snowflake_does_not_take_stops_the_line_and_is_not_lost(faulty_url: str, faults: Faults) -> None:
    storage = SnowflakeStorage(faulty_url)
    queue = storage.dead_letters()
    fault = faults.set("error", "MERGE INTO", errno="100078", sqlstate="22000", message="String is too long", times=1)
    with pytest.raises(ConfigurationError, match=r"String is too long.*FLOWGUARD_DEAD_LETTER_URL"):
        queue.put([letter(1)], NOW)
    assert faults.fired(fault) == 1
    assert queue.page() == []
    queue.put([letter(1)], NOW)
    assert [one.letter for one in queue.page()] == [letter(1)]
    storage.close()


def test_a_schema_without_the_tables_says_how_to_make_them(snowflake_url: str) -> None:
    queue = SnowflakeDeadLetterQueue(snowflake_url, CATALOG)
    with closing(queue):
        with pytest.raises(ConfigurationError, match="flowguard migrate"):
            queue.put([letter(1)], NOW)
        assert migrate(snowflake_url, [Part.DEAD_LETTERS], CATALOG)
        assert migrate(snowflake_url, [Part.DEAD_LETTERS], CATALOG) == []
        queue.put([letter(1)], NOW)
        assert [one.letter for one in queue.page()] == [letter(1)]
