from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from flowguard.adapters.sqlite import Part, SqliteEventLog, migrate, path_of
from flowguard.domain.errors import ConfigurationError


@pytest.mark.parametrize("path_text", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql://x/y", "a.db"])
def test_an_url_without_a_file_is_told(path_text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"names no sqlite file: write sqlite:///folder/file\.db"):
        path_of(path_text)


def test_urls_name_files_as_they_are() -> None:
    assert path_of("sqlite:///flowguard-data/log.db") == Path("flowguard-data/log.db")
    assert path_of("sqlite:////var/lib/50% off #1?/log.db") == Path("/var/lib/50% off #1?/log.db")


def test_odd_names_of_folders_work(tmp_path: Path) -> None:
    path = tmp_path / "50% off #1? é" / "log.db"
    migrate(path, [Part.LOG])
    with closing(SqliteEventLog(path)) as log:
        assert log.describe("raw.things.v1", "group") is None
    assert path.exists()
