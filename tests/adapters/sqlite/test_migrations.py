from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import BaseModel

from flowguard.adapters.sqlite import Part, SqliteEventSink, SqliteLedger, migrate
from flowguard.adapters.sqlite.migrations import migrations_of, statements_of
from flowguard.domain.catalog import BUILT_IN, EventType
from flowguard.domain.errors import ConfigurationError, TransientError
from tests.adapters.sqlite.processes import end, start
from tests.adapters.sqlite.storage import SqliteSinkStorage
from tests.builders import CATALOG, CLICKS, rows
from tests.contracts.sink_case import batch


class Booking(BaseModel):
    user_id: str


class LargerBooking(Booking):
    nights: int | None = None
    Hotel: str | None = None


class OtherBooking(BaseModel):
    user_id: int


def bookings(model: type[BaseModel], table: str = "") -> EventType:
    return EventType("bookings", model, key="user_id", table=table)


def columns(path: Path, table: str) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name: kind for _, name, kind, *_ in connection.execute(f"PRAGMA table_info({table})")}


def execute(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql)


def test_each_is_applied_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "all.db"
    done = [str(one) for one in migrate(path, list(Part), BUILT_IN)]
    assert done == [
        "log 1: log",
        "warehouse 1: positions",
        "dead_letters 1: dead letters",
        "table clicks 1: create",
        "table orders 1: create",
    ]
    assert migrate(path, list(Part), BUILT_IN) == []


def test_parts_can_be_apart(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    assert [one.part for one in migrate(path, [Part.LOG], BUILT_IN)] == ["log"]
    assert columns(path, "clicks") == {}
    assert [one.part for one in migrate(path, [Part.DEAD_LETTERS])] == ["dead_letters"]


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "warehouse.db"
    wanted = migrate(path, [Part.WAREHOUSE], BUILT_IN, dry_run=True)
    assert not path.parent.exists()
    assert migrate(path, [Part.WAREHOUSE], BUILT_IN) == wanted
    assert [str(one) for one in migrate(path, [Part.WAREHOUSE], CATALOG, dry_run=True)] == [
        "table measurements 1: create"
    ]
    assert columns(path, "measurements") == {}


def test_new_fields_become_columns_and_old_rows_stay(tmp_path: Path) -> None:
    storage = SqliteSinkStorage(tmp_path)
    storage.sink().write(batch(rows(CLICKS, range(3))))
    migrate(storage.path, [Part.WAREHOUSE], [bookings(Booking)])
    (added,) = migrate(storage.path, [Part.WAREHOUSE], [bookings(LargerBooking)])
    assert str(added) == "table bookings 2: add columns"
    assert list(columns(storage.path, "bookings").items())[-3:] == [
        ("user_id", "TEXT"),
        ("nights", "INTEGER"),
        ("hotel", "TEXT"),
    ]
    # A model that lost a field again keeps its column.
    assert migrate(storage.path, [Part.WAREHOUSE], [bookings(Booking)]) == []
    assert storage.ledger().summary(CLICKS).rows == 3
    storage.close()


def test_a_field_of_another_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.db"
    migrate(path, [Part.WAREHOUSE], [bookings(Booking)])
    with pytest.raises(ConfigurationError, match=r"column user_id of table bookings holds TEXT.* a new name"):
        migrate(path, [Part.WAREHOUSE], [*BUILT_IN, bookings(OtherBooking)])
    assert columns(path, "clicks") == {}


def test_a_table_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.db"
    migrate(path, [Part.WAREHOUSE])
    execute(path, "CREATE TABLE bookings (id INTEGER PRIMARY KEY, user_id TEXT)")
    with pytest.raises(ConfigurationError, match="bookings exists and has no column event_id"):
        migrate(path, [Part.WAREHOUSE], [bookings(Booking)])


@pytest.mark.parametrize("table", ["order", "select", "a1"])
def test_any_name_of_the_catalog_will_do_for_a_table(tmp_path: Path, table: str) -> None:
    path = tmp_path / "warehouse.db"
    event_type = bookings(Booking, table)
    migrate(path, [Part.WAREHOUSE], [event_type])
    sink, ledger = SqliteEventSink(path, [event_type]), SqliteLedger(path)
    sink.check()
    assert ledger.summary(event_type).rows == 0
    sink.close()
    ledger.close()


@pytest.mark.parametrize("table", ["fg_positions", "sqlite_things"])
def test_names_that_are_taken_are_refused(tmp_path: Path, table: str) -> None:
    with pytest.raises(ConfigurationError, match="give the event type another table"):
        migrate(tmp_path / "warehouse.db", [Part.WAREHOUSE], [bookings(Booking, table)])


def test_fields_that_differ_in_case_only_are_refused(tmp_path: Path) -> None:
    class Shouting(Booking):
        USER_ID: str

    with pytest.raises(ConfigurationError, match="same name user_id"):
        migrate(tmp_path / "warehouse.db", [Part.WAREHOUSE], [bookings(Shouting)])


def test_a_migration_that_was_changed_after_it_was_applied_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.db"
    migrate(path, [Part.WAREHOUSE])
    execute(path, "UPDATE fg_migrations SET checksum = 'another' WHERE part = 'warehouse'")
    with pytest.raises(ConfigurationError, match=r"warehouse 1: positions was applied with other text .*next number"):
        migrate(path, [Part.WAREHOUSE], BUILT_IN)
    assert columns(path, "clicks") == {}


def test_a_file_of_a_newer_flowguard_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    migrate(path, [Part.LOG])
    execute(path, "INSERT INTO fg_migrations VALUES ('log', 99, 'from the future', 'x', '2099-01-01')")
    with pytest.raises(ConfigurationError, match="migrated to 99 by a newer FlowGuard"):
        migrate(path, [Part.LOG])


def test_processes_that_migrate_at_once_apply_each_once(tmp_path: Path) -> None:
    path = tmp_path / "all.db"
    processes = [start("migrate", path) for _ in range(3)]
    applied = sorted(int(end(process)) for process in processes)
    assert applied == [0, 0, 3 + len(CATALOG)]


def test_a_lock_that_is_held_for_long_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    migrate(path, [Part.LOG])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError, match="another process holds its lock"):
            migrate(path, [Part.LOG], busy_timeout_s=0.01)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TransientError, match="file cannot be made"):
        migrate(tmp_path / "file" / "folder" / "log.db", [Part.LOG])


@pytest.mark.parametrize("part", Part)
def test_every_part_has_its_migrations(part: Part) -> None:
    assert [one.number for one in migrations_of(part)][:1] == [1]


def test_a_script_is_cut_into_its_statements() -> None:
    script = "-- a; b\nCREATE TABLE a (b TEXT); -- end\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n SELECT 1;\nEND;\n"
    assert [one.split()[1] for one in statements_of(script)] == ["TABLE", "TRIGGER"]
    with pytest.raises(ConfigurationError, match="in the middle of a statement"):
        list(statements_of("CREATE TABLE a (b TEXT)"))
