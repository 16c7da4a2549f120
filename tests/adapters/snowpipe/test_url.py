from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowguard.adapters.snowpipe import url_of
from flowguard.domain.errors import ConfigurationError


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.p8"
    path.write_text("not read here")
    return path


def test_a_url_names_the_schema_and_how_to_log_in(key: Path) -> None:
    url = url_of(f"snowpipe://me%40shop@org-acc/DB/BRONZE?private_key_file={key}&role=INGEST&private_key_passphrase=s3")
    assert (url.where, url.database, url.schema) == ("snowpipe://org-acc/DB/BRONZE", "DB", "BRONZE")
    assert url.properties == {
        "user": "me@shop",
        "account": "org-acc",
        "scheme": "https",
        "host": "org-acc.snowflakecomputing.com",
        "port": "443",
        "mgmt_http_timeout_seconds": "10",
        "mgmt_retry_total_backoff_seconds": "10",
        "role": "INGEST",
        "private_key_file": str(key),
        "private_key_passphrase": "s3",
    }
    assert "s3" not in repr(url)
    assert (url.commit_timeout_s, url.mended_until) == (60.0, None)


def test_where_it_is_and_how_patient_to_be_can_be_said(key: Path) -> None:
    url = url_of(f"snowpipe://u@a/D/S?private_key_file={key}&host=h&port=8&commit_timeout_s=2.5")
    assert (url.properties["host"], url.properties["port"]) == ("h", "8")
    assert url.commit_timeout_s == 2.5


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00%2B01:00", "2026-01-31T12:00:00"])
def test_a_time_up_to_which_rows_left_out_were_seen_to(key: Path, text: str) -> None:
    url = url_of(f"snowpipe://u@a/D/S?private_key_file={key}&mended_until={text}")
    assert url.mended_until == datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("snowpipe://a/D/S?private_key_file=KEY", "snowpipe://user@account"),
        ("snowpipe://u@a/D?private_key_file=KEY", "snowpipe://user@account"),
        ("snowpipe://u@a:99999999/D/S", "snowpipe://user@account"),
        ("snowpipe://u@a/D/S", "key pair"),
        ("snowpipe://u:geheim@a/D/S", "key pair"),
        ("snowpipe://u@a/D/S?private_key_file=/nowhere.p8", "no file /nowhere.p8"),
        ("snowpipe://u@a/D/S?private_key_file=KEY&warehouse=W", "warehouse is not known"),
        ("snowpipe://u@a/D/S?private_key_file=KEY&commit_timeout_s=0", "above 0"),
        ("snowpipe://u@a/D/S?private_key_file=KEY&commit_timeout_s=soon", "above 0"),
        ("snowpipe://u@a/D/S?private_key_file=KEY&mended_until=yesterday", "2026-01-31T12:00:00Z"),
    ],
)
def test_any_other_url_is_refused_with_how_to_write_it(key: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        url_of(text.replace("KEY", str(key)))
    assert told in str(caught.value)
    assert "geheim" not in str(caught.value)
