"""Settings: which wins, what is said about bad ones, and what `check` finds."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from flowguard.domain.errors import ConfigurationError
from flowguard.entrypoints.cli.configuration import settings_of, without_secrets
from tests.application.pipeline import Pipeline
from tests.builders import CLICKS
from tests.entrypoints.cli.conftest import Cli


def _settings(cli: Cli, *arguments: object) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = cli("check", "--json", *arguments).json["settings"]
    return found


def test_flags_win_over_environment_over_file_over_defaults(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "flowguard.toml").write_text(
        'data_dir = "from-file"\nport = 1111\ngroup = "of-file"\n[batch]\nmax_age_s = 0.5\n', "utf-8"
    )
    monkeypatch.setenv("FLOWGUARD_DATA_DIR", "from-environment")
    monkeypatch.setenv("FLOWGUARD_PORT", "2222")
    monkeypatch.setenv("FLOWGUARD_BATCH__MAX_RECORDS", "77")
    found = _settings(cli, "--data-dir", "from-flag")
    assert found["data_dir"] == {"value": "from-flag", "from": "--data-dir"}
    assert found["port"] == {"value": 2222, "from": "FLOWGUARD_PORT"}
    assert found["group"] == {"value": "of-file", "from": "flowguard.toml"}
    assert found["host"] == {"value": "127.0.0.1", "from": "default"}
    assert found["batch.max_records"] == {"value": 77, "from": "FLOWGUARD_BATCH__MAX_RECORDS"}
    assert found["batch.max_age_s"] == {"value": 0.5, "from": "flowguard.toml"}
    assert found["log_url"] == {"value": "sqlite:///from-flag/log.db", "from": "default"}


@pytest.mark.parametrize(
    ("environment", "toml", "said"),
    [
        ({"FLOWGUARD_PORT": "many"}, "", ["port from FLOWGUARD_PORT", "'many'"]),
        ({"FLOWGUARD_BATCH__MAX_RECORDS": "0"}, "", ["batch from FLOWGUARD_BATCH", "max_records >= 1"]),
        ({"FLOWGUARD_CORS_ORIGINS": "https://shop.example"}, "", ["cors_origins", "JSON"]),
        ({}, "port = [", ["flowguard.toml is no TOML"]),
        ({}, "prot = 8000", ["prot from flowguard.toml", "not permitted"]),
        ({}, "[batch]\nmax_age = 1", ["batch.max_age from flowguard.toml"]),
        (
            {"FLOWGUARD_SINK_URL": "snowflake://user@account/shop"},
            "",
            ["names no Snowflake schema", "snowflake://user@"],
        ),
        (
            {"FLOWGUARD_SINK_URL": "postgresql://localhost"},
            "",
            ["names no PostgreSQL database", "postgresql://user@host"],
        ),
        ({"FLOWGUARD_LOG_URL": "postgresql://localhost/shop"}, "", ["log_url", "nothing here speaks 'postgresql'"]),
        (
            {"FLOWGUARD_SINK_URL": "snowflake://user@account/shop/bronze"},
            "",
            ["snowflake://account/shop/bronze", "add private_key_file or token"],
        ),
        (
            {"FLOWGUARD_SNOWFLAKE_QUERY_TIMEOUT_S": "20", "FLOWGUARD_SNOWFLAKE_LOCK_TIMEOUT_S": "20"},
            "",
            ["snowflake_lock_timeout_s from FLOWGUARD_SNOWFLAKE_LOCK_TIMEOUT_S", "below snowflake_query_timeout_s"],
        ),
        ({"FLOWGUARD_SNOWFLAKE_WRITERS": "21"}, "", ["snowflake_writers", "20"]),
        ({"FLOWGUARD_SINK_URL": "kafka://localhost"}, "", ["sink_url", "nothing here speaks 'kafka'"]),
        ({"FLOWGUARD_DEAD_LETTER_URL": "redis://x"}, "", ["dead_letter_url", "'redis'"]),
        ({"FLOWGUARD_LOG_URL": "sqlite://log.db"}, "", ["sqlite:///folder/file.db"]),
        ({"FLOWGUARD_LOG_URL": "log.db"}, "", ["log_url", "'log.db'"]),
    ],
)
@pytest.mark.parametrize("command", ["migrate", "up"])
def test_a_bad_setting_is_one_line_and_exits_3(
    cli: Cli,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    toml: str,
    said: list[str],
    command: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (here / "flowguard.toml").write_text(toml, "utf-8")
    answer = cli(command)
    assert (answer.code, answer.out) == (3, "")
    assert len(answer.err.splitlines()) == 1
    for text in said:
        assert text in answer.err


def test_more_workers_than_may_write_into_snowflake_are_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWGUARD_LOG_URL", "kafka://127.0.0.1:1")
    monkeypatch.setenv("FLOWGUARD_SINK_URL", "snowflake://user:x@account/shop/bronze?host=127.0.0.1&port=1")
    answer = cli("consume", "--workers", 9)
    assert (answer.code, answer.out) == (3, "")
    assert len(answer.err.splitlines()) == 1
    assert "--workers 9: snowflake_writers (FLOWGUARD_SNOWFLAKE_WRITERS) allows 8" in answer.err
    assert "larger batches" in answer.err


CATALOGS = """
from pydantic import BaseModel
from flowguard.domain.catalog import BUILT_IN, Catalog, EventType

class Booking(BaseModel):
    user_id: str

catalog = Catalog([*BUILT_IN, EventType("bookings", Booking, key="user_id")])
number = 7
"""


def test_a_catalog_in_the_current_folder_is_found(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "my_shop_events.py").write_text(CATALOGS, "utf-8")
    monkeypatch.setenv("FLOWGUARD_CATALOG", "my_shop_events:catalog")
    assert cli("migrate").code == 0
    assert list(cli("status", "--json").json["streams"]) == ["clicks", "orders", "bookings"]


@pytest.mark.parametrize(
    ("catalog", "source", "said"),
    [
        ("nowhere_to_be_found:catalog", "", "there is no module nowhere_to_be_found"),
        ("broken_one", "", "write module:attribute"),
        ("broken_two:nothing", CATALOGS, "the module broken_two has no 'nothing'"),
        ("broken_three:number", CATALOGS, "is a int: make it a flowguard Catalog"),
        ("broken_four:catalog", "import not_installed_here", "needs a module that is not there: not_installed_here"),
        ("broken_five:catalog", "1 / 0", "importing broken_five raised ZeroDivisionError"),
        ("broken_six:catalog", CATALOGS + "Catalog([*BUILT_IN, *BUILT_IN])", "two event types have the name 'clicks'"),
        ("broken_seven:catalog", "catalog = (", "importing broken_seven raised SyntaxError"),
    ],
)
def test_a_catalog_that_cannot_be_had_is_one_line(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch, catalog: str, source: str, said: str
) -> None:
    (here / f"{catalog.partition(':')[0]}.py").write_text(source, "utf-8") if source else None
    monkeypatch.setenv("FLOWGUARD_CATALOG", catalog)
    answer = cli("migrate")
    assert (answer.code, answer.out) == (3, "")
    assert said in answer.err
    assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:hunter2@db/x", "postgresql://user:***@db/x"),
        ("snowflake://u:p%40ss@acc/db?warehouse=w&token=abc", "snowflake://u:***@acc/db?warehouse=w&token=***"),
        ("kafka://host?sasl_password=x&group=g", "kafka://host?sasl_password=***&group=g"),
        ("sqlite:////var/lib/x.db", "sqlite:////var/lib/x.db"),
        ("memory://", "memory://"),
    ],
)
def test_secrets_are_not_shown(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def test_settings_are_checked_before_anything_is_touched(here: Path) -> None:
    with pytest.raises(ConfigurationError, match="port from --port"):
        settings_of({"port": 70_000})
    assert list(here.iterdir()) == []


# -- check -----------------------------------------------------------------------------------------------------------


def _checks(cli: Cli, *arguments: object) -> dict[str, tuple[str, str]]:
    answer = cli("check", "--json", *arguments)
    found = {one["what"]: (one["verdict"], one["found"]) for one in answer.json["checks"]}
    assert answer.json["ok"] == (answer.code == 0) == all(verdict != "wrong" for verdict, _ in found.values())
    return found


def test_check_of_a_fresh_folder_finds_nothing_wrong(cli: Cli, here: Path) -> None:
    found = _checks(cli, "--port", 9)
    assert found["data"][0] == "note"
    assert "flowguard up" in found["data"][1]
    assert found["gateway"][0] == "note"
    assert found["catalog"] == ("ok", "clicks, orders")
    assert list(here.iterdir()) == []


def test_check_of_a_made_folder_tries_every_part(cli: Cli, here: Path) -> None:
    cli("migrate")
    found = _checks(cli, "--port", 9)
    for part in ("log", "sink", "dead letters", "disk"):
        assert found[part][0] == "ok", found
    assert "log_url" in cli("check", "--port", 9).out


def test_check_names_what_was_misspelt(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWGUARD_SINK_ULR", "memory://")
    verdict, text = _checks(cli, "--port", 9)["environment"]
    assert verdict == "wrong"
    assert text == "no setting is called FLOWGUARD_SINK_ULR; is it FLOWGUARD_SINK_URL?"


@pytest.mark.snowflake
def test_check_finds_a_warehouse_without_tables_where_the_log_is_not_made_yet(
    cli: Cli, snowflake_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWGUARD_SINK_URL", snowflake_url)
    found = _checks(cli, "--port", 9)
    assert found["data"][0] == "note"
    verdict, text = found["migrations"]
    assert verdict == "wrong"
    assert re.fullmatch(r"6 to be applied, first snowflake://.*: warehouse 1: positions: run `flowguard migrate`", text)


def test_check_finds_a_file_that_is_no_database(cli: Cli, here: Path) -> None:
    cli("migrate")
    (here / "flowguard-data" / "warehouse.db").write_bytes(b"not a database at all, by any means" * 100)
    verdict, text = _checks(cli, "--port", 9)["migrations"]
    assert verdict == "wrong"
    assert "not a SQLite database" in text


def test_check_finds_a_log_that_was_put_back_from_an_older_copy(cli: Cli, here: Path) -> None:
    pipeline = Pipeline("sqlite", here / "flowguard-data")
    pipeline.log_events(CLICKS, ["a", "b"])
    log, older = here / "flowguard-data" / "log.db", here / "older.db"
    _copy(log, older)
    pipeline.log_events(CLICKS, ["c"])
    pipeline.ingest()
    pipeline.close()
    _copy(older, log)
    verdict, text = _checks(cli, "--port", 9)["raw.clicks.v1-0"]
    assert verdict == "wrong"
    assert "ends at 2, but the sink took it up to 3" in text


def _copy(source: Path, target: Path) -> None:
    """Without a look at how many files a database is made of."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


class _SomethingElse(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # the name is http.server's
        self.send_error(404, "what?")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as above
        pass


def test_check_finds_another_program_on_the_port(cli: Cli) -> None:
    with HTTPServer(("127.0.0.1", 0), _SomethingElse) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        verdict, text = _checks(cli, "--port", server.server_port)["gateway"]
        thread.join()
    assert verdict == "wrong"
    assert "404" in text
