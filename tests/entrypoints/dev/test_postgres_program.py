"""Which PostgreSQL is taken, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.entrypoints.dev.postgres_program import PostgresProgram
from flowguard.entrypoints.dev.unavailable import PostgresUnavailableError


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without PostgreSQL; folders `lib/VERSION/bin` are where a system would have it."""
    monkeypatch.delenv("FLOWGUARD_POSTGRES_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("flowguard.entrypoints.dev.postgres_program._PLACES", (f"{tmp_path}/lib/*/bin",))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "site-packages"))
    return tmp_path


def _install(folder: Path, version: str) -> None:
    folder.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n", "ascii")
        (folder / name).chmod(0o755)


def test_the_newest_is_taken(machine: Path) -> None:
    for version in ("9.6", "15", "17", "16"):
        _install(machine / "lib" / version / "bin", version)
    found = PostgresProgram.find(machine / "data")
    assert (found.version, found.binaries) == (17, machine / "lib" / "17" / "bin")


def test_the_one_on_the_path_is_taken_first(machine: Path) -> None:
    _install(machine / "lib" / "17" / "bin", "17.1")
    _install(machine / "bin", "16.4 (Debian 16.4-1)")
    assert PostgresProgram.find(machine / "data").version == 16


def test_the_one_that_the_user_names_is_taken(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(machine / "bin", "17.1")
    _install(machine / "own", "18beta1")
    monkeypatch.setenv("FLOWGUARD_POSTGRES_BIN", str(machine / "own"))
    assert PostgresProgram.find(machine / "data").version == 18


def test_one_of_a_python_package_is_taken(machine: Path) -> None:
    _install(machine / "site-packages" / "some_postgres" / "pginstall" / "bin", "18.6")
    assert PostgresProgram.find(machine / "data").version == 18


def test_one_that_pg_config_knows_is_taken(machine: Path) -> None:
    _install(machine / "opt" / "bin", "15.18")
    (machine / "bin").mkdir()
    (machine / "bin" / "pg_config").write_text(f"#!/bin/sh\necho {machine}/opt/bin\n", "utf-8")
    (machine / "bin" / "pg_config").chmod(0o755)
    assert PostgresProgram.find(machine / "data").version == 15


def test_data_is_opened_by_the_version_that_has_made_it(machine: Path) -> None:
    for version in ("15", "17"):
        _install(machine / "lib" / version / "bin", version)
    data = machine / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("15\n", "ascii")
    assert PostgresProgram.find(data).version == 15
    (data / "PG_VERSION").write_text("16\n", "ascii")
    with pytest.raises(PostgresUnavailableError, match=r"data is of PostgreSQL 16, and here is 15, 17: install 16"):
        PostgresProgram.find(data)


def test_where_there_is_none_the_alternatives_are_named(machine: Path) -> None:
    (machine / "bin").mkdir()
    (machine / "bin" / "postgres").write_text("#!/bin/sh\nexit 1\n", "ascii")  # without initdb
    (machine / "bin" / "postgres").chmod(0o755)
    with pytest.raises(PostgresUnavailableError) as raised:
        PostgresProgram.find(machine / "data")
    (line,) = str(raised.value).splitlines()
    for text in (
        "no PostgreSQL server",
        "apt-get install postgresql",
        "FLOWGUARD_SINK_URL=postgresql://",
        "compose.yaml",
    ):
        assert text in line
