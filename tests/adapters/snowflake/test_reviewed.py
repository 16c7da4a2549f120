"""What a reviewer found in the adapter: each would lose a row, double one, change one, or blame the wrong one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from snowflake.connector import errors as sf

from flowguard.adapters.snowflake import Part, SnowflakeEventSink, database, migrate
from flowguard.adapters.snowflake.errors import translated
from flowguard.domain.errors import ConfigurationError, PermanentError, TransientError
from flowguard.domain.ingestion import Claim, IngestionId
from flowguard.domain.rows import Merged
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.builders import CATALOG, CLICKS, MEASUREMENTS, NOW, event, letter, rows
from tests.contracts.sink_case import batch, claim, land, position

pytestmark = pytest.mark.snowflake


def new_rows(sink: SnowflakeEventSink, ours: Claim) -> None:
    land(sink, rows(CLICKS, range(5, 8)), ours, expected=5)


def rows_that_may_be_there(sink: SnowflakeEventSink, ours: Claim) -> None:
    sink.write(batch(rows(CLICKS, range(3, 8))))


@pytest.mark.parametrize("write", [new_rows, rows_that_may_be_there])
def test_what_stalls_in_a_transaction_does_not_go_on_in_another_one(
    storage: SnowflakeStorage, write: Callable[[SnowflakeEventSink, Claim], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snowflake gives a silent transaction up: its fence is gone, and a statement that comes later begins a new one."""
    sink, ledger = storage.sink(), storage.ledger()
    ours = claim(sink)
    land(sink, rows(CLICKS, range(5)), ours)
    with monkeypatch.context() as patched:
        patched.setattr(database, "_ABANDONED_S", -1.0)
        with pytest.raises(TransientError, match="nothing was said in a transaction"):
            write(sink, ours)
    assert (ledger.summary(CLICKS).rows, position(ledger).next_offset) == (5, 5)
    write(sink, ours)
    assert ledger.summary(CLICKS).rows == 8


def test_dead_letters_that_stall_are_kept_all_or_none(
    storage: SnowflakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = storage.dead_letters()
    letters = [letter(1), letter(2, topic=MEASUREMENTS.topic)]
    with monkeypatch.context() as patched:
        patched.setattr(database, "_ABANDONED_S", -1.0)
        with pytest.raises(TransientError, match="nothing was said in a transaction"):
            queue.put(letters, NOW)
    assert list(queue.page()) == []
    queue.put(letters, NOW)
    assert [one.letter for one in queue.page()] == letters


def test_the_first_place_of_a_relayed_record_is_taken(storage: SnowflakeStorage) -> None:
    sink, ledger = storage.sink(), storage.ledger()
    ours = claim(sink)
    first = IngestionId(CLICKS.topic, 1, 0, 10)
    assert land(sink, rows(CLICKS, {5: event(CLICKS, "a")}, first_ids={5: first}), ours) == Merged(1, 0)
    assert land(sink, rows(CLICKS, {8: event(CLICKS, "b"), 10: event(CLICKS, "c")}), ours, expected=6) == Merged(1, 1)
    assert not ledger.doubled(CLICKS)


@pytest.mark.parametrize("claimed_since", [False, True])
def test_what_a_replay_put_ahead_of_a_position_is_there_for_its_owner(
    storage: SnowflakeStorage, *, claimed_since: bool
) -> None:
    """By its ingestion id, where events are not looked for."""
    with closing(SnowflakeEventSink(storage.url, CATALOG, event_id_days=0)) as sink:
        ours = claim(sink)
        land(sink, rows(CLICKS, range(3)), ours)
        sink.write(batch(rows(CLICKS, range(4, 6))))
        ours = claim(sink) if claimed_since else ours
        assert land(sink, rows(CLICKS, range(3, 8)), ours, expected=3) == Merged(3, 2)
        assert land(sink, rows(CLICKS, range(8, 10)), ours, expected=8) == Merged(2, 0)
    assert not storage.ledger().doubled(CLICKS)


def test_a_column_that_would_round_is_not_written_to(storage: SnowflakeStorage) -> None:
    storage.drop_column("measurements", "price")
    storage.execute('ALTER TABLE "MEASUREMENTS" ADD COLUMN "PRICE" NUMBER(38, 0)')
    sink = storage.sink()
    write = batch(rows(MEASUREMENTS, {0: event(MEASUREMENTS, "a")}))
    with pytest.raises(ConfigurationError, match=r"PRICE .* has 0 decimal places, and 12 are needed: run"):
        sink.write(write)
    storage.migrate(MEASUREMENTS)
    assert sink.write(write).merged == {"measurements": Merged(1, 0)}


def test_what_would_be_rounded_is_not_converted(storage: SnowflakeStorage) -> None:
    storage.drop_column("measurements", "price")
    storage.execute('ALTER TABLE "MEASUREMENTS" ADD COLUMN "PRICE" NUMBER(38, 18)')
    with pytest.raises(ConfigurationError, match=r"PRICE of table MEASUREMENTS is NUMBER\(38, 18\), .*does not hold"):
        storage.migrate(MEASUREMENTS)


def test_a_migration_that_was_broken_off_goes_on(snowflake_url: str) -> None:
    storage = SnowflakeStorage(snowflake_url, migrated=False)
    storage.execute(
        "CREATE TABLE FG_INCARNATIONS (TOPIC VARCHAR NOT NULL, INCARNATION NUMBER(38, 0), TOPIC_ID VARCHAR)"
    )
    migrate(snowflake_url, [*Part], CATALOG)
    assert migrate(snowflake_url, [*Part], CATALOG) == []
    assert storage.sink().write(batch(rows(CLICKS, range(3)))).merged == {"clicks": Merged(3, 0)}
    storage.close()


def test_writers_that_cannot_take_turns_do_not_write(storage: SnowflakeStorage) -> None:
    storage.execute("DELETE FROM FG_POSITIONS")
    with pytest.raises(ConfigurationError, match="by which writers take turns"):
        storage.sink().write(batch(rows(CLICKS, range(3))))
    assert storage.ledger().summary(CLICKS).rows == 0


def test_a_session_without_a_database_is_no_records_fault() -> None:
    known = sf.ProgrammingError("Cannot perform SELECT.", errno=90105, sqlstate="22000")
    assert isinstance(translated(known, "here"), ConfigurationError)
    unknown = sf.ProgrammingError("Something of the session.", errno=90999, sqlstate="22000")
    assert not isinstance(translated(unknown, "here"), PermanentError)
