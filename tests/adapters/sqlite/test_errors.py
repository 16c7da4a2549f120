"""What befalls a file: each fault is told as what to do about it, and nothing is half done."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flowguard.adapters.sqlite import (
    Part,
    SqliteDeadLetterQueue,
    SqliteEventLog,
    SqliteEventPublisher,
    SqliteEventSink,
    SqliteEventSource,
    SqliteLedger,
    migrate,
)
from flowguard.adapters.sqlite.database import Database
from flowguard.domain.errors import ConfigurationError, TransientError, UnknownOutcomeError
from tests.adapters.sqlite.storage import SqliteLogStorage, SqliteSinkStorage
from tests.builders import CATALOG, CLICKS, NOW, letter, rows
from tests.contracts.log_case import P0, TOPIC, Member, read_all, things, values_of
from tests.contracts.sink_case import HERE, batch, claim, land

Act = Callable[[Path], object]


def publishing(path: Path) -> None:
    _with_publisher(path, lambda publisher: publisher.publish(TOPIC, things("a")))


def checking_publisher(path: Path) -> None:
    _with_publisher(path, lambda publisher: publisher.check())


def _with_publisher(path: Path, act: Callable[[SqliteEventPublisher], Awaitable[object]]) -> None:
    async def main() -> None:
        publisher = SqliteEventPublisher(path, busy_timeout_s=0.01)
        try:
            await act(publisher)
        finally:
            await publisher.close()

    asyncio.run(main())


def polling(path: Path) -> None:
    with closing(SqliteEventSource(path, "group", [TOPIC], busy_timeout_s=0.01)) as source:
        Member(source).poll(0.0)


def describing(path: Path) -> None:
    with closing(SqliteEventLog(path, busy_timeout_s=0.01)) as log:
        log.describe(TOPIC, "group")


def landing(path: Path) -> None:
    with closing(SqliteEventSink(path, busy_timeout_s=0.01)) as sink:
        sink.write(batch(rows(CLICKS, range(3))))


def claiming(path: Path) -> None:
    with closing(SqliteEventSink(path, busy_timeout_s=0.01)) as sink:
        claim(sink)


def checking_sink(path: Path) -> None:
    with closing(SqliteEventSink(path, CATALOG, busy_timeout_s=0.01)) as sink:
        sink.check()


def counting(path: Path) -> None:
    with closing(SqliteLedger(path, busy_timeout_s=0.01)) as ledger:
        ledger.summary(CLICKS)


def putting(path: Path) -> None:
    with closing(SqliteDeadLetterQueue(path, busy_timeout_s=0.01)) as queue:
        queue.put([letter(1)], NOW)


WRITES = [publishing, checking_publisher, polling, landing, claiming, checking_sink, putting]
ALL = [*WRITES, describing, counting]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with everything in it."""
    path = tmp_path / "all.db"
    migrate(path, list(Part), CATALOG)
    with closing(SqliteEventLog(path)) as log:
        log.ensure({TOPIC: 1})
    return path


@pytest.mark.parametrize("act", ALL)
def test_all_of_it_can_be_in_one_file(path: Path, act: Act) -> None:
    act(path)


@pytest.mark.parametrize("act", ALL)
def test_a_file_that_is_not_there_is_to_be_migrated_and_is_not_made(tmp_path: Path, act: Act) -> None:
    with pytest.raises(ConfigurationError, match="does not exist: run `flowguard migrate`"):
        act(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("act", ALL)
def test_a_file_without_the_tables_is_to_be_migrated(tmp_path: Path, act: Act) -> None:
    path = tmp_path / "bare.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE something_else (a)")
    with pytest.raises(ConfigurationError, match=r"no such table: .*: run `flowguard migrate`"):
        act(path)


@pytest.mark.parametrize("act", [*ALL, lambda path: migrate(path, list(Part))])
def test_a_file_that_is_no_database_is_told_and_kept(tmp_path: Path, act: Act) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Not a database, but somebody's notes. " * 100)
    with pytest.raises(ConfigurationError, match="it is not a SQLite database"):
        act(path)
    assert path.read_text().startswith("Not a database")


@pytest.mark.parametrize("act", WRITES)
def test_a_lock_that_another_process_holds_is_waited_for_and_told(path: Path, act: Act) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError, match="another process holds its lock"):
            act(path)
        for read in (describing, counting):
            read(path)
    act(path)


def test_a_missing_column_of_metadata_is_to_be_migrated(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE clicks RENAME COLUMN subject TO other")
    for act in (landing, checking_sink):
        with pytest.raises(ConfigurationError, match=r"subject: run `flowguard migrate`"):
            act(path)


# -- while it is open ------------------------------------------------------------------------------------------------


@contextmanager
def limited(database: Database, pragma: str, undo: str) -> Iterator[None]:
    with database.use() as connection:
        connection.execute(pragma)
    yield
    with database.use() as connection:
        connection.execute(undo)


FULL = "PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000"
READ_ONLY = "PRAGMA query_only = 1", "PRAGMA query_only = 0"


@pytest.mark.parametrize(
    ("pragmas", "message"), [(FULL, "the disk is full; free some space"), (READ_ONLY, "it is read-only; check")]
)
def test_a_sink_that_cannot_write_keeps_its_state_and_recovers(
    tmp_path: Path, pragmas: tuple[str, str], message: str
) -> None:
    storage = SqliteSinkStorage(tmp_path)
    sink = storage.sink()
    ours = claim(sink)
    land(sink, rows(CLICKS, range(10)), ours)
    with limited(sink._database, *pragmas), pytest.raises(TransientError, match=message) as caught:
        land(sink, rows(CLICKS, range(10, 900)), ours, expected=10)
    assert not isinstance(caught.value, UnknownOutcomeError)
    assert storage.ledger().summary(CLICKS).rows == 10
    assert land(sink, rows(CLICKS, range(10, 900)), ours, expected=10).inserted == 890
    storage.close()


@pytest.mark.parametrize("warm", [True, False])
def test_a_log_that_cannot_grow_keeps_nothing_of_a_call_and_recovers(tmp_path: Path, warm: bool) -> None:
    storage = SqliteLogStorage(tmp_path)
    log = storage.event_log()
    log.ensure({TOPIC: 1})

    async def main() -> None:
        publisher = storage.publisher()
        if warm:  # it knows where the partitions end, and appends there in one statement
            await publisher.publish(TOPIC, things("a"))
        with publisher._database.use() as connection:
            connection.execute(FULL[0])
        with pytest.raises(TransientError, match="the disk is full") as caught:
            await publisher.publish(TOPIC, things("x" * 100_000))
        assert not isinstance(caught.value, UnknownOutcomeError)
        receipt = await publisher.publish(TOPIC, things("b"))
        assert list(receipt.places) == [(0, int(warm))]

    asyncio.run(main())
    assert values_of(read_all(log, P0)) == [b"a", b"b"][not warm :]
    storage.close()


@pytest.mark.parametrize("warm", [True, False])
def test_a_write_that_the_disk_refuses_in_the_middle_has_an_unknown_outcome(tmp_path: Path, warm: bool) -> None:
    resource = pytest.importorskip("resource", reason="limits of file sizes are a thing of Unix")
    storage = SqliteLogStorage(tmp_path)
    log = storage.event_log()
    log.ensure({TOPIC: 1})

    async def main() -> None:
        publisher = storage.publisher()
        if warm:
            await publisher.publish(TOPIC, things("a"))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
        try:
            with pytest.raises(UnknownOutcomeError, match="may or may not have been stored"):
                await publisher.publish(TOPIC, things("x" * 500_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        await publisher.publish(TOPIC, things("b"))

    asyncio.run(main())
    assert values_of(read_all(log, P0))[-1] == b"b"
    storage.close()


@pytest.mark.parametrize("act", ["removed", "replaced"])
def test_a_file_that_went_away_takes_no_more_writes(tmp_path: Path, act: str) -> None:
    """Its open handle would take them all the same, and nobody would ever find them again."""
    storage = SqliteSinkStorage(tmp_path)
    sink = storage.sink()
    claim(sink)
    for file in tmp_path.glob("warehouse.db*"):
        file.rename(tmp_path / f"moved-{file.name}")
    if act == "removed":
        with pytest.raises(ConfigurationError, match="does not exist: run `flowguard migrate`"):
            claim(sink)
    else:
        migrate(storage.path, [Part.WAREHOUSE], CATALOG)
        assert claim(sink).epoch == 1
    storage.close()


def test_a_damaged_batch_is_named(tmp_path: Path) -> None:
    storage = SqliteLogStorage(tmp_path)
    log = storage.event_log()
    log.ensure({TOPIC: 1})
    asyncio.run(storage.publisher().publish(TOPIC, things("a", "b")))
    for body in (b"\x93\x91\xc4\x01a", b"\x91\x91\xc4\x01a"):
        storage.execute("UPDATE fg_batches SET body = ?", body)
        with pytest.raises(ConfigurationError, match=r"batch raw\.things\.v1-0-0 is damaged .*: put a backup"):
            log.read(P0, 0, 9)
    storage.close()


def test_what_was_closed_says_so(path: Path) -> None:
    sink = SqliteEventSink(path)
    claim(sink)
    sink.close()
    with pytest.raises(TransientError, match="closed"):
        claim(sink)


def test_a_sink_closes_although_another_thread_hangs_in_it(path: Path) -> None:
    sink = SqliteEventSink(path, busy_timeout_s=1.0)

    with closing(sqlite3.connect(path, isolation_level=None)) as connection, ThreadPoolExecutor() as threads:
        connection.execute("BEGIN IMMEDIATE")
        writing = threads.submit(sink.write, batch(rows(CLICKS, range(3))))
        while not sink._database._lock.locked():
            assert not writing.done()
        threads.submit(sink.close).result(timeout=10)
        with pytest.raises(TransientError):
            writing.result()
    with closing(SqliteLedger(path)) as ledger:
        assert not ledger.offsets(CLICKS, HERE, 1).landed
