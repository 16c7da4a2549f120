"""What a database may be like beside what FlowGuard has made of it: told, or dealt with, and never in silence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from flowguard.adapters.postgres import Part, PostgresEventSink, migrate
from flowguard.domain.errors import ConfigurationError, PermanentError, TransientError
from flowguard.domain.rows import Merged
from tests.adapters.postgres.storage import PostgresStorage
from tests.builders import CATALOG, CLICKS, MEASUREMENTS, NOW, event, letter, place, rows
from tests.contracts.sink_case import FIRST, batch, claim, land

pytestmark = pytest.mark.postgres


@pytest.fixture
def storage(postgres_url: str) -> Iterator[PostgresStorage]:
    storage = PostgresStorage(postgres_url)
    yield storage
    storage.close()


def test_a_column_that_became_another_type_is_told_and_nothing_lands_as_something_else(
    storage: PostgresStorage,
) -> None:
    sink = storage.sink()
    ours = claim(sink, place(MEASUREMENTS))
    land(sink, rows(MEASUREMENTS, range(3)), ours)
    storage.execute("ALTER TABLE measurements ALTER COLUMN count TYPE double precision")
    with pytest.raises(ConfigurationError, match="column count of table measurements is double precision, and bigint"):
        land(sink, rows(MEASUREMENTS, range(3, 6)), ours, expected=3)
    assert storage.execute("SELECT count(*), min(count), max(count) FROM measurements") == [(3, 7, 7)]


def test_an_older_table_with_event_ids_gets_the_key_that_it_lacks(postgres_url: str) -> None:
    migrate(postgres_url, [*Part], [])
    storage = PostgresStorage(postgres_url, migrated=False)
    storage.execute("CREATE TABLE clicks (event_id text, item_id text)")
    migrate(postgres_url, [*Part], [CLICKS])
    sink = PostgresEventSink(postgres_url, [CLICKS])
    same = {0: event(CLICKS, "same"), 1: event(CLICKS, "same")}
    assert sink.write(batch(rows(CLICKS, same))).merged == {"clicks": Merged(1, 1)}
    assert migrate(postgres_url, [*Part], [CLICKS]) == []
    sink.close()


def test_the_environment_does_not_decide_what_a_text_is(
    storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    sink = storage.sink()
    assert sink.write(batch(rows(CLICKS, {0: event(CLICKS, "a", page="\u2603")}))).merged == {"clicks": Merged(1, 0)}
    monkeypatch.delenv("PGCLIENTENCODING")
    assert storage.execute("SELECT page FROM clicks") == [("\u2603",)]


@pytest.mark.parametrize("when", ["BEFORE", "AFTER"])
def test_what_a_trigger_says_no_to_is_a_fault_of_its_row(storage: PostgresStorage, when: str) -> None:
    storage.execute(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF new.user_id = 'bad' THEN"
        " RAISE EXCEPTION 'bad user'; END IF; RETURN new; END $$"
    )
    storage.execute(f"CREATE TRIGGER no {when} INSERT ON clicks FOR EACH ROW EXECUTE FUNCTION no()")
    sink = storage.sink()
    with pytest.raises(PermanentError, match="bad user"):
        land(sink, rows(CLICKS, {0: event(CLICKS, "a"), 1: event(CLICKS, "b", user_id="bad")}), claim(sink))


def test_a_key_that_is_checked_too_late_is_told(storage: PostgresStorage) -> None:
    storage.execute("ALTER TABLE clicks DROP CONSTRAINT clicks_ingestion_id_key")
    storage.execute("ALTER TABLE clicks ADD CONSTRAINT late UNIQUE (ingestion_id) DEFERRABLE")
    (step,) = migrate(storage.url, [*Part], CATALOG, dry_run=True)
    assert step.statements == ('ALTER TABLE "clicks" ADD UNIQUE (ingestion_id)',)
    sink = storage.sink()
    with pytest.raises(ConfigurationError, match="is a unique constraint DEFERRABLE"):
        sink.write(batch(rows(CLICKS, range(3))))


def test_dead_letters_of_an_event_type_whose_topic_has_changed(storage: PostgresStorage) -> None:
    moved = replace(CLICKS, topic="clicks-v2")
    (step,) = migrate(storage.url, [*Part], [moved])
    assert str(step) == "table clicks_dlq_2 1: create"
    assert migrate(storage.url, [*Part], [moved]) == []
    queue = storage.dead_letters()
    queue.put([letter(1), letter(1, topic="clicks-v2")], NOW)
    assert {one.letter.ingestion_id.topic for one in queue.page()} == {CLICKS.topic, "clicks-v2"}


def test_a_check_says_no_where_a_write_would_fail(storage: PostgresStorage) -> None:
    name = storage.url.rsplit("/", 1)[1]
    storage.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(TransientError, match="it is read-only"):
        storage.sink().check()
    with psycopg.connect(storage.url, options="-c default_transaction_read_only=off", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} RESET ALL".encode())
        connection.execute("REVOKE INSERT ON clicks FROM CURRENT_USER")
    with pytest.raises(ConfigurationError, match='may not write to "clicks": GRANT SELECT, INSERT'):
        storage.sink().check()


def test_rows_of_a_log_from_before_are_not_taken_for_those_of_this_one(postgres_url: str) -> None:
    """A person has to say whether it is the same log; else new events would be absorbed as duplicates of old rows."""
    migrate(postgres_url, [*Part], [])
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE clicks (source_topic text, ingestion_id text UNIQUE)")
        connection.execute("INSERT INTO clicks VALUES ('raw.clicks.v1', 'raw.clicks.v1-0-0')")
        migrate(postgres_url, [*Part], [CLICKS])
        sink = PostgresEventSink(postgres_url, [CLICKS])
        with pytest.raises(ConfigurationError, match="is it the same log") as told:
            claim(sink)
        another, same = (line for line in str(told.value).splitlines() if "INSERT" in line)
        assert FIRST in same
        connection.execute(another[another.index("INSERT") :].encode())
    ours = claim(sink)
    assert ours.incarnation == 2
    assert land(sink, rows(CLICKS, range(2), incarnation=2), ours) == Merged(2, 0)
    sink.close()
