"""A server of one's own, from the first start to kill -9."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from flowguard.domain.errors import ConfigurationError
from flowguard.entrypoints.dev.free_ports import some_free
from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.postgres import PostgresServer, PostgresStartError, StopMode
from tests.servers.postgres import QUICK, require_postgres, running_postgres

WAIT_S = 30.0
NOBODY = 65_534


@pytest.fixture(scope="module")
def only_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with running_postgres(tmp_path_factory.mktemp("own") / "postgres") as running:
        yield running


@pytest.fixture
def server(only_server: PostgresServer) -> PostgresServer:
    """One that runs, and that the test may stop and kill."""
    only_server.start()
    return only_server


def _write(url: str, text: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS kept")
        connection.execute("CREATE TABLE kept AS SELECT %s::text AS value", [text])


def _kept(url: str) -> str:
    with psycopg.connect(url) as connection:
        (row,) = connection.execute("SELECT value FROM kept").fetchall()
    assert isinstance(row[0], str)
    return row[0]


def _setting(url: str, name: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


# -- start and stop --------------------------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.parametrize("mode", StopMode)
def test_a_second_start_is_the_same_server_with_its_data(server: PostgresServer, mode: StopMode) -> None:
    url = server.url
    _write(url, "before the stop")
    server.stop(mode)
    assert server.pid is None
    assert not server.ready
    server.start()
    assert server.url == url
    assert _kept(url) == "before the stop"


@pytest.mark.postgres
def test_what_was_committed_survives_a_kill(server: PostgresServer) -> None:
    _write(server.url, "before the kill")
    with psycopg.connect(server.url) as connection:
        connection.execute("DELETE FROM kept")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert not server.ready
    server.start()
    assert _kept(server.url) == "before the kill"


@pytest.mark.postgres
def test_starting_it_while_it_runs_changes_nothing(server: PostgresServer) -> None:
    again = PostgresServer(server.folder)
    again.start()
    assert (again.pid, again.url) == (server.pid, server.url)
    other_port = PostgresServer(server.folder, port=some_free("127.0.0.1"))
    with pytest.raises(ConfigurationError, match="holds a PostgreSQL that runs, at port"):
        other_port.start()
    assert server.ready


@pytest.mark.postgres
def test_a_connection_that_is_in_use_does_not_keep_it_from_stopping(server: PostgresServer) -> None:
    with psycopg.connect(server.url) as connection:
        server.suspend(connection.info.backend_pid)
        server.stop(deadline_s=WAIT_S)
        assert server.pid is None
        assert "database system is shut down" in (server.folder / "server.log").read_text("utf-8")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


@pytest.mark.postgres
def test_options_hold_from_the_next_start(server: PostgresServer) -> None:
    assert _setting(server.url, "fsync") == "on"
    server.stop()
    PostgresServer(server.folder, options={"fsync": "off", "max_connections": "7"}).start()
    assert [_setting(server.url, name) for name in ("fsync", "max_connections")] == ["off", "7"]
    server.stop()
    server.start()
    assert _setting(server.url, "fsync") == "on"


@pytest.mark.postgres
def test_an_option_that_postgres_refuses_is_shown_with_its_log(server: PostgresServer) -> None:
    server.stop()
    refused = PostgresServer(server.folder, options={"max_connections": "many"})
    with pytest.raises(
        PostgresStartError, match=r'(?s)has ended; the end of .*server\.log:.*"max_connections": "many"'
    ):
        refused.start()
    assert refused.pid is None


@pytest.mark.postgres
def test_a_deadline_that_passes_stops_what_was_started(server: PostgresServer) -> None:
    server.stop()
    with pytest.raises(PostgresStartError, match="not ready within"):
        server.start(deadline_s=0.0)
    assert server.pid is None
    server.start()
    assert server.ready


@pytest.mark.postgres
def test_a_first_start_that_was_broken_off_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "data.draft").mkdir()
    (tmp_path / "data.draft" / "PG_VERSION").write_text("15\n", "ascii")
    with running_postgres(tmp_path, QUICK) as server:
        assert server.ready


@pytest.mark.postgres
def test_its_data_can_be_elsewhere(tmp_path: Path) -> None:
    require_postgres(tmp_path)
    (tmp_path / "disk").mkdir()
    with ending_with_this_process(PostgresServer, tmp_path / "server"):
        server = PostgresServer(tmp_path / "server", data=tmp_path / "disk" / "data", options=QUICK)
        server.start()
        _write(server.socket_url, "elsewhere")
        assert (tmp_path / "disk" / "data" / "PG_VERSION").exists()
        assert not (tmp_path / "server" / "data").exists()


# -- who gets in -----------------------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_who_comes_by_the_network_is_no_superuser(server: PostgresServer) -> None:
    assert _setting(server.url, "is_superuser") == "off"
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg.connect(server.url.replace("flowguard@", "postgres@"))
    assert _setting(server.superuser_url, "is_superuser") == "on"
    assert server.data.stat().st_mode & 0o077 == 0


@pytest.mark.postgres
def test_a_long_path_has_its_socket_elsewhere(tmp_path: Path) -> None:
    with running_postgres(tmp_path / ("long" * 30), QUICK) as server:
        _write(server.socket_url, "by the socket")
        assert _kept(server.url) == "by the socket"
        made = Path(_setting(server.superuser_url, "unix_socket_directories"))
        assert made.stat().st_mode & 0o077 == 0
        server.stop()
        assert not made.exists()


@pytest.mark.postgres
def test_the_user_root_starts_it_with_the_rights_of_another(server: PostgresServer) -> None:
    assert server.pid is not None
    assert server.data.stat().st_uid != 0
    assert Path(f"/proc/{server.pid}").stat().st_uid == server.data.stat().st_uid


@pytest.mark.postgres
def test_another_user_than_root_starts_it_as_himself() -> None:
    require_postgres(Path("/"))
    folder = Path(tempfile.mkdtemp())
    user = os.geteuid() or NOBODY
    os.chown(folder, user, -1)
    with ending_with_this_process(PostgresServer, folder / "postgres"):
        child = os.fork()
        if child == 0:  # the test goes on in the parent only
            try:
                os.setuid(user)
                PostgresServer(folder / "postgres", options=QUICK).start()
            finally:
                server = PostgresServer(folder / "postgres")
                os._exit(0 if server.pid and Path(f"/proc/{server.pid}").stat().st_uid == user else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    shutil.rmtree(folder)


# -- suspended -------------------------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_a_server_that_is_suspended_does_not_answer(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowguard.entrypoints.dev.postgres._ASK_TIMEOUT_S", 0.5)
    server.suspend()
    assert not server.ready
    server.resume()
    server.wait_ready()


@pytest.mark.postgres
def test_starting_one_that_is_suspended_lets_it_go_on(server: PostgresServer) -> None:
    with psycopg.connect(server.url) as connection:
        server.suspend_all()
        server.start()
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.postgres
def test_one_connection_can_be_suspended(server: PostgresServer) -> None:
    with psycopg.connect(server.url) as connection:
        backend = connection.info.backend_pid
        server.suspend(backend)
        connection.pgconn.send_query(b"SELECT 1")
        connection.pgconn.flush()
        with psycopg.connect(server.url) as other:
            deadline = time.monotonic() + WAIT_S
            while _state(backend) != "T":
                assert time.monotonic() < deadline
            assert other.execute("SELECT 1").fetchone() == (1,)
        connection.pgconn.consume_input()
        assert connection.pgconn.is_busy()
        server.resume(backend)
        result = connection.pgconn.get_result()
        assert result is not None
        assert result.get_value(0, 0) == b"1"
        while connection.pgconn.get_result() is not None:
            pass


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]


@pytest.mark.postgres
def test_a_process_that_is_not_its_own_is_left_alone(server: PostgresServer) -> None:
    with pytest.raises(ValueError, match="is no process of the PostgreSQL"):
        server.suspend(os.getpid())


# -- without a server ------------------------------------------------------------------------------------------------


def test_before_the_first_start_it_has_no_address(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path)
    assert (server.exists, server.pid, server.ready) == (False, None, False)
    with pytest.raises(ConfigurationError, match="there is no PostgreSQL in"):
        _ = server.url


@pytest.mark.postgres
def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    require_postgres(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} is taken: .*--port"):
            PostgresServer(tmp_path, port=port).start()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"port": "x", "sockets": null}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "server.json").write_text(content, "utf-8")
    with pytest.raises(ConfigurationError, match=r"server\.json cannot be read"):
        PostgresServer(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        PostgresServer(tmp_path / "file" / "postgres").start()
