"""What is particular to rows in sqlite: the form of values, the indexes, and the proof by counting."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from flowguard.adapters.sqlite.merging import chunks
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.errors import PermanentError
from flowguard.domain.rows import Merged, Rows
from tests.adapters.sqlite.storage import SqliteSinkStorage
from tests.builders import CLICKS, MEASUREMENTS, event, place, rows
from tests.contracts.sink_case import HERE, batch


@pytest.fixture
def storage(tmp_path: Path) -> SqliteSinkStorage:
    return SqliteSinkStorage(tmp_path)


def select(storage: SqliteSinkStorage, sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(storage.path)) as connection:
        return connection.execute(sql, values).fetchall()


def execute(storage: SqliteSinkStorage, script: str) -> None:
    with closing(sqlite3.connect(storage.path)) as connection:
        connection.executescript(script)


def with_value(of: Rows, column: str, value: object) -> Rows:
    """The rows, the last of which has this value."""
    names = list(MEASUREMENTS.model.model_fields)
    *others, last = of.values
    at = len(last) - len(names) + names.index(column)
    return Rows(
        of.event_type, of.partition, of.incarnation, of.offsets, [*others, (*last[:at], value, *last[at + 1 :])]
    )


def test_values_are_stored_so_that_sql_can_use_them(storage: SqliteSinkStorage) -> None:
    storage.sink().write(batch(rows(MEASUREMENTS, {0: event(MEASUREMENTS, "a", price="0.10")})))
    (found,) = select(storage, "SELECT price, seen_at, occurred_at, working, level, tags FROM measurements")
    assert found == (
        "0.10",
        "2026-01-02T03:04:05.678901+00:00",
        "2026-01-02T03:04:05.678901+00:00",
        1,
        0.5,
        '{"a":[1,null,"é"]}',
    )
    assert select(storage, "SELECT datetime(seen_at), json_extract(tags, '$.a[0]') FROM measurements") == [
        ("2026-01-02 03:04:05", 1)
    ]
    storage.close()


def test_a_time_without_a_zone_is_taken_as_utc_and_text_order_is_time_order(storage: SqliteSinkStorage) -> None:
    moments = ["2026-01-02T03:04:05", "2026-01-02T03:04:05.5", "2026-01-02T03:04:06+00:00"]
    given = rows(MEASUREMENTS, {at: event(MEASUREMENTS, f"{at}", seen_at=one) for at, one in enumerate(moments)})
    storage.sink().write(batch(given))
    texts = [text for (text,) in select(storage, "SELECT seen_at FROM measurements ORDER BY source_offset")]
    assert texts == sorted(texts)
    assert texts[0] == "2026-01-02T03:04:05.000000+00:00"
    storage.close()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("level", float("nan"), "level: NaN cannot be stored"),
        ("note", "half a pair: \ud800", "note: is no valid text"),
        ("count", 2**63, "count: the integer does not fit 64 bits"),
    ],
)
def test_a_value_that_cannot_be_stored_names_its_row(
    storage: SqliteSinkStorage, column: str, value: object, message: str
) -> None:
    with pytest.raises(PermanentError, match=message) as caught:
        storage.sink().write(batch(with_value(rows(MEASUREMENTS, range(5)), column, value)))
    assert [(one.partition, one.offset) for one in caught.value.rows] == [(place(MEASUREMENTS), 4)]
    assert storage.ledger().summary(MEASUREMENTS).rows == 0
    storage.close()


def test_infinity_and_tiny_decimals_are_kept(storage: SqliteSinkStorage) -> None:
    given = with_value(rows(MEASUREMENTS, range(2)), "level", float("inf"))
    storage.sink().write(batch(given))
    assert storage.ledger().recent(MEASUREMENTS, 1)[0]["level"] == float("inf")
    storage.close()


def test_rows_that_are_doubled_behind_the_back_of_the_sink_are_named(storage: SqliteSinkStorage) -> None:
    """The proof would be worth nothing if it could not fail: here somebody made the table without constraints."""
    storage.sink().write(batch(rows(CLICKS, {0: event(CLICKS, "a"), 1: event(CLICKS, "b")})))
    execute(
        storage,
        "CREATE TABLE copy AS SELECT * FROM clicks; INSERT INTO copy SELECT * FROM clicks WHERE event_id = 'a';"
        "DROP TABLE clicks; ALTER TABLE copy RENAME TO clicks",
    )
    ledger = storage.ledger()
    assert list(ledger.doubled(CLICKS)) == [f"{CLICKS.topic}-0-0", "shop/a"]
    assert list(ledger.doubled(CLICKS, limit=1)) == [f"{CLICKS.topic}-0-0"]
    assert ledger.offsets(CLICKS, HERE, 1).landed == OffsetRanges([(0, 1)])
    storage.close()


def test_rows_without_their_metadata_are_counted_apart(storage: SqliteSinkStorage) -> None:
    storage.sink().write(batch(rows(CLICKS, range(3))))
    execute(
        storage,
        "CREATE TABLE copy AS SELECT * FROM clicks; UPDATE copy SET ingestion_id = NULL WHERE source_offset = 1;"
        "DROP TABLE clicks; ALTER TABLE copy RENAME TO clicks",
    )
    summary = storage.ledger().summary(CLICKS)
    assert (summary.rows, summary.metadata_complete) == (3, 2)
    storage.close()


def test_offsets_and_proofs_are_answered_from_indexes(storage: SqliteSinkStorage) -> None:
    """A table scan would read every payload."""
    for sql in (
        "SELECT source_offset FROM clicks WHERE source_topic = 'a' AND source_partition = 0 AND source_incarnation = 1",
        "SELECT ingestion_id FROM clicks GROUP BY ingestion_id HAVING count(*) > 1",
        "SELECT event_id FROM clicks GROUP BY producer_service, event_id HAVING count(*) > 1",
        "SELECT count(*) FROM clicks",
    ):
        plan = " ".join(detail for *_, detail in select(storage, f"EXPLAIN QUERY PLAN {sql}"))
        assert "USING COVERING INDEX" in plan, plan
        assert "TEMP B-TREE" not in plan, plan
    storage.close()


def test_the_first_row_of_a_duplicate_is_remembered(storage: SqliteSinkStorage) -> None:
    given = {0: event(CLICKS, "a"), 1: event(CLICKS, "b"), 2: event(CLICKS, "a")}
    assert storage.sink().write(batch(rows(CLICKS, given))).merged == {"clicks": Merged(2, 1)}
    assert select(storage, 'SELECT "offset", kind, first_ingestion_id FROM fg_absorbed') == [
        (2, "duplicate", f"{CLICKS.topic}-0-0")
    ]
    storage.close()


@pytest.mark.parametrize("rows_given", [0, 1, 7, 1_724, 5_000])
def test_statements_take_all_rows_in_order_and_never_too_many_values(rows_given: int) -> None:
    values = list(range(rows_given * 19))
    pieces = list(chunks(values, 19))
    assert [value for _, piece in pieces for value in piece] == values
    assert all(len(piece) == count * 19 <= 32_766 for count, piece in pieces)


def test_what_is_looked_for_means_the_value_not_its_text(storage: SqliteSinkStorage) -> None:
    storage.sink().write(batch(rows(MEASUREMENTS, range(2))))
    ledger = storage.ledger()
    for where in ({"level": "0.50"}, {"working": "true"}, {"seen_at": "2026-01-02T04:04:05.678901+01:00"}):
        assert len(ledger.recent(MEASUREMENTS, 9, where)) == 2, where
    for where in ({"level": "high"}, {"working": "yes"}, {"seen_at": "today"}, {"count": "seven"}):
        assert list(ledger.recent(MEASUREMENTS, 9, where)) == [], where
    assert isinstance(ledger.recent(MEASUREMENTS, 1)[0]["seen_at"], datetime)
    storage.close()


def test_offsets_are_of_one_moment_while_another_writes(storage: SqliteSinkStorage) -> None:
    """Every write lands an odd offset and remembers the even one before it as a duplicate: both are seen, or none."""
    ledger, stop = storage.ledger(), Event()
    storage.sink().write(batch(rows(CLICKS, {0: event(CLICKS, "a")})))

    def write() -> None:
        sink = storage.sink()
        at = 1
        while not stop.is_set():
            given = {at: event(CLICKS, f"{at}"), at + 1: event(CLICKS, "a")}
            sink.write(batch(rows(CLICKS, given)))
            at += 2

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        seen = 0
        while seen < 200 and not writing.done():
            found = ledger.offsets(CLICKS, HERE, 1)
            assert len(found.landed) == len(found.duplicates) + 1
            seen = len(found.landed)
        stop.set()
        writing.result()
    assert seen >= 200
    storage.close()
