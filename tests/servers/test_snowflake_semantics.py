"""What Snowflake's SQL and transactions do, through the real connector: the sink is built on this.

All but what sets faults runs on a real account as well, and says there whether the stand-in tells the truth.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from snowflake.connector.errors import DatabaseError, OperationalError

from tests.servers.snowflake import Connection, connected

pytestmark = pytest.mark.snowflake

TABLES = (
    """CREATE TABLE IF NOT EXISTS clicks (
        ingestion_id VARCHAR NOT NULL UNIQUE, source_partition NUMBER(10, 0), source_offset NUMBER(38, 0),
        occurred_at TIMESTAMP_TZ, ingested_at TIMESTAMP_NTZ, payload VARIANT, PRIMARY KEY (ingestion_id))""",
    "CREATE TABLE positions (topic VARCHAR NOT NULL, part NUMBER(10, 0), next_offset NUMBER(38, 0), epoch NUMBER)",
)
ROWS = """
    SELECT f.value:id::varchar AS ingestion_id, f.value:p::number(10, 0) AS source_partition,
           f.value:o::number(38, 0) AS source_offset, f.value:at::timestamp_tz AS occurred_at,
           f.value:payload AS payload
    FROM TABLE(FLATTEN(input => PARSE_JSON(?))) f"""
MERGE = f"""
    MERGE INTO clicks t USING (
      {ROWS} QUALIFY ROW_NUMBER() OVER (PARTITION BY f.value:id::varchar ORDER BY f.index) = 1) s
    ON t.ingestion_id = s.ingestion_id AND t.source_partition = ? AND t.source_offset BETWEEN ? AND ?
    WHEN NOT MATCHED THEN INSERT (ingestion_id, source_partition, source_offset, occurred_at, payload)
    VALUES (s.ingestion_id, s.source_partition, s.source_offset, s.occurred_at, s.payload)"""
INSERT = f"INSERT INTO clicks (ingestion_id, source_partition, source_offset, occurred_at, payload) {ROWS}"
MOVE = "UPDATE positions SET next_offset = ? WHERE topic = 'clicks' AND part = ? AND next_offset = ?"


def rows(first: int, last: int, partition: int = 0) -> str:
    """A batch of clicks, as one bind."""
    return json.dumps(
        [
            {"id": f"clicks-{partition}-{offset}", "p": partition, "o": offset, "at": "2024-05-01T10:00:00.5+00:00"}
            | {"payload": {"n": offset, "text": "it's {} \\ \u00e9"}}
            for offset in range(first, last + 1)
        ]
    )


@pytest.fixture
def connect(snowflake_url: str, beside: ThreadPoolExecutor) -> Iterator[Callable[..., Connection]]:
    # Its sessions end before the threads do: what a failed test has left waiting for a lock goes on.
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(connected(snowflake_url, **options))


@pytest.fixture
def session(connect: Callable[..., Connection]) -> Connection:
    made = connect()
    for statement in TABLES:
        made.cursor().execute(statement)
    made.cursor().execute("INSERT INTO positions VALUES ('clicks', 0, 0, 1), ('clicks', 1, 0, 1)")
    return made


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def run(session: Connection, sql: str, *binds: object) -> list[Any]:
    return session.cursor().execute(sql, binds or None).fetchall()


def changed(session: Connection, sql: str, *binds: object) -> int | None:
    """How many rows."""
    return session.cursor().execute(sql, binds or None).rowcount


def count(session: Connection) -> int:
    return int(run(session, "SELECT count(*) FROM clicks")[0][0])


def error_of(session: Connection, sql: str, *binds: object) -> tuple[int | None, str | None]:
    with pytest.raises(DatabaseError) as raised:
        run(session, sql, *binds)
    return raised.value.errno, raised.value.sqlstate


# -- statements ------------------------------------------------------------------------------------------------------


def test_keys_are_not_enforced_and_not_null_is(session: Connection) -> None:
    assert changed(session, INSERT, rows(1, 3)) == 3
    assert changed(session, INSERT, rows(1, 3)) == 3
    assert count(session) == 6
    assert error_of(session, "INSERT INTO clicks (ingestion_id) VALUES (NULL)") == (100072, "22000")


def test_a_merge_inserts_what_is_not_there_and_says_how_many(session: Connection) -> None:
    run(session, INSERT, rows(1, 3))
    assert run(session, MERGE, rows(1, 5), 0, 1, 5) == [(2,)]
    assert changed(session, MERGE, rows(1, 5), 0, 1, 5) == 0
    twice = json.dumps(json.loads(rows(8, 8)) * 2)
    assert run(session, MERGE, twice, 0, 8, 8) == [(1,)]
    assert count(session) == 6


def test_values_come_back_as_they_went(session: Connection) -> None:
    run(session, INSERT, rows(7, 7))
    [(identity, offset, at, naive, payload)] = run(
        session,
        "SELECT ingestion_id, source_offset, occurred_at, ingested_at, payload FROM clicks",
    )
    assert (identity, offset, naive) == ("clicks-0-7", 7, None)
    assert at.astimezone(UTC) == datetime(2024, 5, 1, 10, 0, 0, 500_000, UTC)
    assert json.loads(payload) == {"n": 7, "text": "it's {} \\ \u00e9"}


def test_an_update_from_a_bind_says_how_many_rows_it_changed(session: Connection) -> None:
    move = """
        UPDATE positions SET next_offset = s.upto, epoch = s.epoch
        FROM (SELECT f.value:p::number AS part, f.value:from::number AS at, f.value:to::number AS upto,
                     f.value:e::number AS epoch
              FROM TABLE(FLATTEN(input => PARSE_JSON(?))) f) s
        WHERE positions.topic = ? AND positions.part = s.part AND positions.next_offset = s.at"""
    moves = [{"p": 0, "from": 0, "to": 10, "e": 2}, {"p": 1, "from": 99, "to": 10, "e": 2}]
    assert changed(session, move, json.dumps(moves), "clicks") == 1
    assert run(session, "SELECT next_offset, epoch FROM positions ORDER BY part") == [(10, 2), (0, 1)]


def test_many_binds_of_many_types(session: Connection) -> None:
    given = ("text", 7, Decimal("12.5"), 1.5, True, None, datetime(2024, 5, 1, 10, 0, 0, 5000, UTC))
    select = "SELECT ?, ?, ?, ?, ?, ?, CAST(? AS TIMESTAMP_TZ)"
    [(text, whole, exact, real, truth, nothing, at)] = run(session, select, *given[:-1], given[-1].isoformat())
    assert (text, int(whole), Decimal(exact), float(real), bool(truth), nothing) == given[:-1]
    assert at.astimezone(UTC) == given[-1]


def test_columns_are_added_once_and_described(session: Connection) -> None:
    for _ in range(2):
        run(session, "ALTER TABLE clicks ADD COLUMN IF NOT EXISTS note VARCHAR")
        run(session, TABLES[0])
    described = {row[0]: row[1] for row in run(session, "DESCRIBE TABLE clicks")}
    assert described["PAYLOAD"] == "VARIANT"
    assert described["SOURCE_OFFSET"] == "NUMBER(38,0)"
    assert described["OCCURRED_AT"].startswith("TIMESTAMP_TZ")
    assert described["NOTE"].startswith("VARCHAR")
    columns = run(
        session,
        "SELECT column_name FROM INFORMATION_SCHEMA.COLUMNS"
        " WHERE table_schema = CURRENT_SCHEMA() AND table_name = ? ORDER BY ordinal_position",
        "CLICKS",
    )
    assert [name for (name,) in columns] == list(described)


def test_what_is_no_json(session: Connection) -> None:
    assert run(session, "SELECT TRY_PARSE_JSON(?), TRY_PARSE_JSON(?):a::number", "{no", '{"a": 1}') == [(None, 1)]
    for statement in (INSERT, "SELECT PARSE_JSON(?)"):
        assert error_of(session, statement, "{no") == (100069, "22P02")
    assert error_of(session, MERGE, "{no", 0, 0, 0) == (100069, "22P02")


def test_values_that_do_not_fit_their_column_are_errors_of_the_value(session: Connection) -> None:
    number = json.dumps([{"id": "x", "o": "abc"}])
    assert error_of(session, INSERT, number) == (100038, "22018")
    time = json.dumps([{"id": "x", "at": "yesterday"}])
    assert error_of(session, INSERT, time) == (100035, "22007")
    assert count(session) == 0


def test_what_is_not_there_and_what_is_no_sql(session: Connection) -> None:
    assert error_of(session, "SELECT * FROM nothing") == (2003, "42S02")
    assert error_of(session, "SELEC 1") == (1003, "42000")


def test_a_file_goes_by_put_and_copy_into_a_temporary_table(session: Connection, tmp_path: Path) -> None:
    file = tmp_path / "batch.json.gz"
    file.write_bytes(gzip.compress("\n".join(json.dumps(one) for one in json.loads(rows(1, 500))).encode()))
    run(session, "CREATE TEMPORARY TABLE IF NOT EXISTS batch (v VARIANT)")
    run(session, "CREATE TEMPORARY STAGE IF NOT EXISTS files FILE_FORMAT = (TYPE = JSON)")
    run(session, "BEGIN")
    [put] = run(session, f"PUT file://{file} @files AUTO_COMPRESS=FALSE OVERWRITE=TRUE")
    assert "UPLOADED" in put
    run(session, "COPY INTO batch FROM @files/batch.json.gz FILE_FORMAT = (TYPE = JSON) PURGE = TRUE")
    merge = """
        MERGE INTO clicks t USING (SELECT v:id::varchar AS id, v:o::number AS o, v:payload AS payload FROM batch) s
        ON t.ingestion_id = s.id WHEN NOT MATCHED THEN INSERT (ingestion_id, source_offset, payload)
        VALUES (s.id, s.o, s.payload)"""
    assert run(session, merge) == [(500,)]
    run(session, "COMMIT")
    assert run(session, merge) == [(0,)]
    assert count(session) == 500


def test_several_statements_go_in_one_request(session: Connection) -> None:
    cursor = session.cursor()
    cursor.execute(f"BEGIN; {MOVE}; {INSERT}; COMMIT", (5, 0, 0, rows(0, 4)), num_statements=4)
    counts = [cursor.rowcount]
    while cursor.nextset() is not None:
        counts.append(cursor.rowcount)
    assert counts[1:3] == [1, 5]
    assert count(session) == 5


# -- transactions ----------------------------------------------------------------------------------------------------


def test_what_is_not_committed_is_not_seen_and_can_be_undone(
    session: Connection, connect: Callable[..., Connection]
) -> None:
    other = connect()
    run(session, "BEGIN")
    run(session, MOVE, 5, 0, 0)
    assert run(session, MERGE, rows(0, 4), 0, 0, 4) == [(5,)]
    assert (count(session), count(other)) == (5, 0)
    run(session, "ROLLBACK")
    assert (count(session), count(other)) == (0, 0)
    run(session, "BEGIN")
    run(session, INSERT, rows(0, 4))
    run(session, "COMMIT")
    assert (count(session), count(other)) == (5, 5)


def test_without_autocommit_a_change_opens_a_transaction(
    session: Connection, connect: Callable[..., Connection]
) -> None:
    other = connect(autocommit=False)
    run(other, INSERT, rows(0, 4))
    assert (count(other), count(session)) == (5, 0)
    other.commit()
    assert count(session) == 5


def test_ddl_commits_what_is_open(session: Connection) -> None:
    run(session, "BEGIN")
    run(session, INSERT, rows(0, 4))
    run(session, "CREATE TEMPORARY TABLE other (x NUMBER)")
    run(session, "ROLLBACK")
    assert count(session) == 5


def test_a_statement_that_fails_is_undone_and_its_transaction_goes_on(session: Connection) -> None:
    run(session, "BEGIN")
    run(session, MOVE, 5, 0, 0)
    assert error_of(session, INSERT, "{no") == (100069, "22P02")
    run(session, INSERT, rows(0, 4))
    run(session, "COMMIT")
    assert count(session) == 5
    assert run(session, "SELECT next_offset FROM positions WHERE part = 0") == [(5,)]


def test_a_change_waits_for_the_transaction_that_has_changed_the_table(
    session: Connection, connect: Callable[..., Connection], beside: ThreadPoolExecutor
) -> None:
    other = connect()
    run(session, "BEGIN")
    assert changed(session, MOVE, 5, 0, 0) == 1
    run(other, "BEGIN")
    # Another row of the same table: the lock is the table's.
    same, another = (beside.submit(changed, one, MOVE, 5, part, 0) for one, part in ((other, 0), (connect(), 1)))
    assert not _ends(same)
    assert not _ends(another)
    run(session, "COMMIT")
    # It sees what was committed while it waited.
    assert same.result(30) == 0
    run(other, "COMMIT")
    assert another.result(30) == 1


def _ends(one: Future[Any]) -> bool:
    """Within a time in which what does not wait is long done."""
    try:
        one.result(0.5)
    except TimeoutError:
        return False
    return True


def test_inserts_wait_for_nobody(session: Connection, connect: Callable[..., Connection]) -> None:
    other = connect()
    run(session, "BEGIN")
    run(session, MERGE, rows(0, 4), 0, 0, 4)
    run(other, "BEGIN")
    assert changed(other, INSERT, rows(0, 4, partition=1)) == 5
    run(other, "COMMIT")
    run(session, "COMMIT")
    assert count(session) == 10


def test_a_statement_sees_what_was_committed_before_it_also_in_a_transaction(
    session: Connection, connect: Callable[..., Connection]
) -> None:
    other = connect()
    run(session, "BEGIN")
    run(session, INSERT, rows(0, 4))
    run(other, INSERT, rows(0, 4, partition=1))
    run(other, MOVE, 5, 1, 0)
    assert count(session) == 10
    assert changed(session, MOVE, 9, 1, 5) == 1
    run(session, "COMMIT")
    assert count(other) == 10
    assert run(other, "SELECT next_offset FROM positions ORDER BY part") == [(0,), (9,)]


def test_the_wait_for_a_lock_has_an_end(session: Connection, connect: Callable[..., Connection]) -> None:
    by_login = connect(session_parameters={"LOCK_TIMEOUT": 1})
    by_statement = connect()
    run(by_statement, "ALTER SESSION SET LOCK_TIMEOUT = 1")
    run(session, "BEGIN")
    run(session, MOVE, 5, 0, 0)
    for other in (by_login, by_statement):
        assert error_of(other, MOVE, 5, 1, 0) == (625, "57014")
    run(session, "ROLLBACK")
    assert changed(by_login, MOVE, 5, 1, 0) == 1


def test_the_end_of_a_session_undoes_its_transaction_and_frees_its_locks(
    session: Connection, connect: Callable[..., Connection]
) -> None:
    other = connect()
    run(other, "BEGIN")
    run(other, MOVE, 5, 0, 0)
    other.close()
    assert changed(session, MOVE, 7, 0, 0) == 1


def test_a_time_out_of_the_client_takes_its_statement_out_of_the_line(
    session: Connection, connect: Callable[..., Connection]
) -> None:
    other = connect(query_timeout=2)
    run(session, "BEGIN")
    run(session, MOVE, 5, 0, 0)
    with pytest.raises(OperationalError) as raised:
        run(other, MOVE, 5, 1, 0)
    assert (raised.value.errno, raised.value.sqlstate) == (14, "HYT00")
    # The connector cancels it beside, and a session's statements run one after the other: it is done with now.
    run(other, "SELECT 1")
    run(session, "COMMIT")
    assert run(session, "SELECT next_offset FROM positions ORDER BY part") == [(5,), (0,)]


def test_writers_of_one_table_lose_and_double_nothing(
    session: Connection, connect: Callable[..., Connection], beside: ThreadPoolExecutor
) -> None:
    def write(own: Connection) -> int:
        landed = 0
        for first in range(0, 60, 20):
            run(own, "BEGIN")
            run(own, "UPDATE positions SET epoch = epoch + 1 WHERE part = 0")
            landed += run(own, MERGE, rows(first, first + 19), 0, first, first + 19)[0][0]
            run(own, "COMMIT")
        return landed

    assert sum(beside.map(write, [connect() for _ in range(4)])) == 60
    assert count(session) == 60
    assert run(session, "SELECT epoch FROM positions WHERE part = 0") == [(13,)]
