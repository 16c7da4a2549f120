"""How a schema is named: what the connector is told, and what a person is told who named it wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.adapters.snowflake.url import url_of
from flowguard.domain.errors import ConfigurationError


def test_a_key_pair_is_how_a_service_logs_in(tmp_path: Path) -> None:
    key = tmp_path / "key.p8"
    key.write_text("a key")
    url = url_of(f"snowflake://loader@org-account/SHOP/BRONZE?warehouse=WH&role=INGEST&private_key_file={key}")
    assert url.options == {
        "account": "org-account",
        "user": "loader",
        "database": "SHOP",
        "schema": "BRONZE",
        "warehouse": "WH",
        "role": "INGEST",
        "private_key_file": str(key),
        "authenticator": "SNOWFLAKE_JWT",
    }
    assert url.where == "snowflake://org-account/SHOP/BRONZE"


def test_a_token_comes_next_and_a_password_last() -> None:
    by_token = url_of("snowflake://loader@account/SHOP/BRONZE?token=abc").options
    assert (by_token["token"], by_token["authenticator"]) == ("abc", "PROGRAMMATIC_ACCESS_TOKEN")
    by_password = url_of("snowflake://loader:p%40ss@account/SHOP/BRONZE").options
    assert by_password["password"] == "p@ss"
    assert "authenticator" not in by_password


def test_a_server_elsewhere() -> None:
    options = url_of("snowflake://u:x@account/DB/S?host=127.0.0.1&port=8080&protocol=http").options
    assert (options["host"], options["port"], options["protocol"]) == ("127.0.0.1", 8080, "http")


def test_no_secret_is_shown() -> None:
    url = url_of("snowflake://u:hidden-1@account/DB/S?token=hidden-2&private_key_file_pwd=hidden-3")
    assert "hidden" not in repr(url) + url.where


@pytest.mark.parametrize("query", ["token=hidden-1&hidden-2=x", "private_key_file_pwd=a&role=R&hidden-1=b&port=1"])
def test_a_piece_of_a_secret_is_taken_for_no_name(query: str) -> None:
    with pytest.raises(ConfigurationError, match="write & as %26") as caught:
        url_of(f"snowflake://u@account/DB/S?{query}")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("snowflake://u:x@account", "names no Snowflake schema"),
        ("snowflake://u:x@account/DB", "names no Snowflake schema"),
        ("snowflake://account/DB/S", "names no Snowflake schema"),
        ("snowflake://u:p@ss@account/DB/S", "write @ in the password as %40"),
        ("no url at all", "names no Snowflake schema"),
        ("snowflake://u:x@account/DB/S?warehose=WH", "warehose is not known"),
        ("snowflake://u:x@account/DB/S?port=a", "port is 'a'"),
        ("snowflake://u@account/DB/S", "add private_key_file or token"),
        ("snowflake://u@account/DB/S?private_key_file=/nowhere/key.p8", "there is no file /nowhere/key.p8"),
    ],
)
def test_what_is_wrong_is_told_without_secrets(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match="(?s)" + told) as caught:
        url_of(text)
    assert ":x@" not in str(caught.value)
