"""Rows that go by a file: where it lies, and what is loaded of it."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowguard.adapters.snowflake import feeding
from flowguard.domain.errors import TransientError
from flowguard.domain.rows import Merged
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.builders import CLICKS, rows
from tests.contracts.sink_case import claim, land, position

pytestmark = pytest.mark.snowflake


@pytest.fixture
def storage(snowflake_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SnowflakeStorage]:
    """Each batch goes by a file."""
    monkeypatch.setattr(feeding, "MOST_BYTES", 0)
    storage = SnowflakeStorage(snowflake_url)
    yield storage
    storage.close()


@pytest.mark.parametrize("name", ["a folder", "it's", 'so "called"', "back\\slash"])
def test_the_folder_for_temporary_files_may_have_any_name(
    storage: SnowflakeStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    sink = storage.sink()
    assert land(sink, rows(CLICKS, range(3)), claim(sink)) == Merged(3, 0)
    assert list(folder.iterdir()) == []


def test_a_file_that_is_not_loaded_whole_undoes_all(storage: SnowflakeStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, ledger = storage.sink(), storage.ledger()
    ours = claim(sink)
    with monkeypatch.context() as patched:
        whole = gzip.compress
        patched.setattr(
            gzip, "compress", lambda data, compresslevel: whole(data[: data[:-1].rindex(b"\n") + 1], compresslevel)
        )
        with pytest.raises(TransientError, match="COPY has loaded 2 of the 3 rows of a file; all are undone"):
            land(sink, rows(CLICKS, range(3)), ours)
    assert (ledger.summary(CLICKS).rows, position(ledger).next_offset) == (0, None)
    assert land(sink, rows(CLICKS, range(3)), ours) == Merged(3, 0)
