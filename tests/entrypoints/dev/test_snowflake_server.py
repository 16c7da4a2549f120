"""A stand-in for Snowflake of one's own, from the first start to kill -9, and the faults that tests set in it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from snowflake.connector.errors import DatabaseError, Error

from flowguard.domain.errors import ConfigurationError
from flowguard.entrypoints.dev import snowflake_environment
from flowguard.entrypoints.dev.free_ports import some_free
from flowguard.entrypoints.dev.snowflake import SnowflakeServer, SnowflakeStartError
from flowguard.entrypoints.dev.unavailable import SnowflakeUnavailableError
from tests.servers.snowflake import (
    WITH_FAULTS,
    Connection,
    Faults,
    connected,
    require_snowflake,
    running_snowflake,
)

OPTIONS = {**WITH_FAULTS, "abandoned_s": "0.2"}
# What a dead server costs a client at most, in seconds.
IMPATIENT: dict[str, object] = {
    "login_timeout": 3,
    "connect_timeout": 2,
    "query_timeout": 5,
    "retry_timeout": 3,
    "logout_request_timeout_seconds": 1,
    "logout_total_timeout_seconds": 2,
}


@pytest.fixture(scope="module")
def only_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnowflakeServer]:
    with running_snowflake(tmp_path_factory.mktemp("own") / "snowflake", OPTIONS) as running:
        yield running


@pytest.fixture
def server(only_server: SnowflakeServer) -> Iterator[SnowflakeServer]:
    """One that runs, and that the test may stop and kill; `kept` holds nothing."""
    only_server.start()
    with connected(only_server.url) as connection:
        connection.cursor().execute("CREATE OR REPLACE TABLE kept (x NUMBER)")
    yield only_server
    if only_server.pid is not None:
        only_server.resume_all()
        Faults(only_server).lift()


@pytest.fixture
def faults(server: SnowflakeServer) -> Faults:
    return Faults(server)


def run(connection: Connection, sql: str) -> list[Any]:
    return connection.cursor().execute(sql).fetchall()


def kept(server: SnowflakeServer) -> list[int]:
    with connected(server.url) as connection:
        return sorted(x for (x,) in run(connection, "SELECT x FROM kept"))


# -- start and stop --------------------------------------------------------------------------------------------------


@pytest.mark.snowflake
def test_a_second_start_is_the_same_server_with_its_data(server: SnowflakeServer) -> None:
    url = server.url
    with connected(url) as connection:
        run(connection, "INSERT INTO kept VALUES (1)")
        run(connection, "BEGIN")
        run(connection, "INSERT INTO kept VALUES (2)")
        server.stop()
    assert (server.pid, server.ready) == (None, False)
    server.start()
    assert server.url == url
    assert kept(server) == [1]


@pytest.mark.snowflake
@pytest.mark.parametrize("statement", ["MERGE", "COMMIT"])
def test_what_was_committed_survives_a_kill_and_what_was_not_does_not(
    server: SnowflakeServer, faults: Faults, statement: str
) -> None:
    merge = "MERGE INTO kept t USING (SELECT 2 AS x) s ON t.x = s.x WHEN NOT MATCHED THEN INSERT (x) VALUES (s.x)"
    with connected(server.url, **IMPATIENT) as connection, ThreadPoolExecutor(1) as beside:
        run(connection, "INSERT INTO kept VALUES (1)")
        held = faults.set("hold", f"^{statement}")
        if statement == "COMMIT":
            run(connection, "BEGIN")
            run(connection, merge)
        broken = beside.submit(run, connection, merge if statement == "MERGE" else "COMMIT")
        faults.wait_standing(held)
        server.kill()
        assert isinstance(broken.exception(60), Error)
    assert not server.ready
    server.start()
    assert kept(server) == [1]


@pytest.mark.snowflake
def test_databases_and_schemas_that_were_made_are_there_after_a_kill(server: SnowflakeServer) -> None:
    with connected(server.url) as connection:
        for statement in ("CREATE DATABASE IF NOT EXISTS other", "CREATE SCHEMA IF NOT EXISTS other.raw"):
            run(connection, statement)
        run(connection, "CREATE OR REPLACE TABLE other.raw.t (x NUMBER)")
        run(connection, "INSERT INTO other.raw.t VALUES (1)")
    server.kill()
    server.start()
    with connected(server.url) as connection:
        assert run(connection, "SELECT x FROM other.raw.t") == [(1,)]


@pytest.mark.snowflake
def test_starting_it_while_it_runs_changes_nothing(server: SnowflakeServer) -> None:
    again = SnowflakeServer(server.folder)
    again.start()
    assert (again.pid, again.url) == (server.pid, server.url)
    other_port = SnowflakeServer(server.folder, port=some_free("127.0.0.1"))
    with pytest.raises(ConfigurationError, match="holds a stand-in that runs, at port"):
        other_port.start()
    assert server.ready


@pytest.mark.snowflake
def test_an_option_that_there_is_not_is_shown_with_its_log(server: SnowflakeServer) -> None:
    server.stop()
    refused = SnowflakeServer(server.folder, options={"speed": "much"})
    with pytest.raises(SnowflakeStartError, match=r"(?s)has ended; the end of .*speed=much: no such setting"):
        refused.start()
    assert refused.pid is None


@pytest.mark.snowflake
def test_a_server_that_is_suspended_does_not_answer_and_goes_on_when_started(
    server: SnowflakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowguard.entrypoints.dev.snowflake._ASK_TIMEOUT_S", 0.5)
    server.suspend_all()
    assert not server.ready
    server.start()
    assert server.ready


@pytest.mark.snowflake
def test_without_the_option_there_are_no_faults(tmp_path: Path) -> None:
    with running_snowflake(tmp_path, {}) as plain, pytest.raises(AssertionError, match="40"):
        Faults(plain).refuse_logins()


# -- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.snowflake
def test_refused_logins(server: SnowflakeServer, faults: Faults) -> None:
    refused = faults.refuse_logins()
    with pytest.raises(DatabaseError, match="Incorrect username or password"):
        connected(server.url, **IMPATIENT)
    assert faults.fired(refused) > 0
    faults.lift(refused)
    connected(server.url).close()


@pytest.mark.snowflake
def test_an_error_the_next_time_a_statement_matches(server: SnowflakeServer, faults: Faults) -> None:
    with connected(server.url) as connection:
        waits = faults.set("error", "^insert", times=1, errno="000625", sqlstate="57014")
        assert run(connection, "SELECT 1") == [(1,)]
        with pytest.raises(DatabaseError) as raised:
            run(connection, "INSERT INTO kept VALUES (1)")
        assert (raised.value.errno, raised.value.sqlstate) == (625, "57014")
        run(connection, "INSERT INTO kept VALUES (1)")
    assert faults.fired(waits) == 1


@pytest.mark.snowflake
def test_an_expired_session_whose_token_can_be_renewed_goes_on(server: SnowflakeServer, faults: Faults) -> None:
    with connected(server.url, **IMPATIENT) as connection:
        expired = faults.set("error", times=1, errno="390112")
        assert run(connection, "SELECT 1") == [(1,)]
    assert faults.fired(expired) == 1
    assert faults.counted()["by_kind"]["renew"] >= 1


@pytest.mark.snowflake
def test_an_expired_session_that_is_lost(server: SnowflakeServer, faults: Faults) -> None:
    with connected(server.url, **IMPATIENT) as connection:
        expired, lost = faults.expire_sessions()
        with pytest.raises(Error):
            run(connection, "SELECT 1")
    assert (faults.fired(expired), faults.fired(lost)) == (1, 1)


@pytest.mark.snowflake
@pytest.mark.parametrize(("cut", "landed"), [("cut_before", []), ("cut_after", [1])])
def test_a_connection_that_is_cut(server: SnowflakeServer, faults: Faults, cut: str, landed: list[int]) -> None:
    with connected(server.url, **IMPATIENT) as connection:
        number = faults.set(cut, "^COMMIT", times=1)
        run(connection, "BEGIN")
        run(connection, "INSERT INTO kept VALUES (1)")
        with pytest.raises(Error):
            run(connection, "COMMIT")
    assert faults.fired(number) == 1
    assert kept(server) == landed


@pytest.mark.snowflake
def test_a_statement_stands_still_until_it_is_lifted(server: SnowflakeServer, faults: Faults) -> None:
    with connected(server.url) as connection, ThreadPoolExecutor(1) as beside:
        held = faults.set("hold", "^INSERT", times=1)
        going = beside.submit(run, connection, "INSERT INTO kept VALUES (1)")
        faults.wait_standing(held)
        assert kept(server) == []
        faults.lift(held)
        assert going.result(30) == [(1,)]
    assert kept(server) == [1]


@pytest.mark.snowflake
def test_requests_are_counted_by_session(server: SnowflakeServer, faults: Faults) -> None:
    with connected(server.url) as connection, connected(server.url) as other:
        faults.reset_counts()
        for _ in range(3):
            run(connection, "SELECT 1")
        run(other, "SELECT 2")
        counted = faults.counted()
    assert counted["by_kind"] == {"query": 4}
    assert sorted(counted["by_session"].values()) == [1, 3]
    assert [one["text"] for one in counted["asked"]] == ["SELECT 1"] * 3 + ["SELECT 2"]


@pytest.mark.snowflake
def test_an_abandoned_transaction_gives_way(server: SnowflakeServer) -> None:
    with connected(server.url) as abandoned, connected(server.url) as other:
        run(abandoned, "INSERT INTO kept VALUES (1)")
        run(abandoned, "BEGIN")
        run(abandoned, "UPDATE kept SET x = 2")
        assert run(other, "UPDATE kept SET x = x + 10")[0][0] == 1
        run(abandoned, "COMMIT")  # of nothing
    assert kept(server) == [11]


# -- without a server ------------------------------------------------------------------------------------------------


def test_before_the_first_start_it_has_no_address(tmp_path: Path) -> None:
    server = SnowflakeServer(tmp_path)
    assert (server.exists, server.pid, server.ready) == (False, None, False)
    with pytest.raises(ConfigurationError, match="there is no stand-in for Snowflake in"):
        _ = server.url


@pytest.mark.snowflake
def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    require_snowflake()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} is taken: .*--port"):
            SnowflakeServer(tmp_path, port=port).start()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"port": "x"}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "server.json").write_text(content, "utf-8")
    with pytest.raises(ConfigurationError, match=r"server\.json cannot be read"):
        SnowflakeServer(tmp_path)


def test_an_environment_that_cannot_be_made_is_one_line_with_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("no-such-package-of-flowguard==1 --hash=sha256:00\n", "utf-8")
    monkeypatch.setattr(snowflake_environment, "REQUIREMENTS", requirements)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SnowflakeUnavailableError) as raised:
        SnowflakeServer(tmp_path / "server").start()
    assert "\n" not in str(raised.value)
    for text in ("pip could not make", "FLOWGUARD_SINK_URL=snowflake://", "FLOWGUARD_TEST_SNOWFLAKE_URL"):
        assert text in str(raised.value)
    assert [path.name for path in (tmp_path / "cache" / "flowguard").iterdir()] == ["lock"]
