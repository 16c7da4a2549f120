"""A log that was put back from an older copy would lose what it accepts: that is noticed before it accepts anything."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from flowguard.domain.errors import ConfigurationError
from tests.application.pipeline import Pipeline
from tests.builders import CLICKS
from tests.e2e.pipeline import FLOWGUARD


def _put_back_an_older_log(folder: Path) -> Path:
    """A data folder in which the warehouse has three rows, and the log ends after the first."""
    first = Pipeline("sqlite", folder)
    first.log_events(CLICKS, ["a"])
    first.ingest()
    first.close()
    [log] = folder.rglob("log.db")
    shutil.copy(log, folder / "older.db")
    second = Pipeline("sqlite", folder)
    second.log_events(CLICKS, ["b", "c"])
    second.ingest()
    second.close()
    for part in log.parent.glob("log.db*"):
        part.unlink()
    shutil.copy(folder / "older.db", log)
    return log.parent


def test_the_audit_does_not_vouch_for_an_older_log(tmp_path: Path) -> None:
    _put_back_an_older_log(tmp_path)
    third = Pipeline("sqlite", tmp_path)
    try:
        with pytest.raises(ConfigurationError, match=r"raw\.clicks\.v1-0 ends at 1, but the sink took it up to 3"):
            third.container.auditor().run()
    finally:
        third.close()


def test_up_refuses_an_older_log_and_starts_once_it_is_moved_away(tmp_path: Path) -> None:
    data = _put_back_an_older_log(tmp_path)
    refused = subprocess.run(
        [FLOWGUARD, "up", "--port", "0", "--data-dir", data], capture_output=True, text=True, check=False, timeout=30
    )
    assert refused.returncode == 3
    assert "older copy" in refused.stderr
    assert "Traceback" not in refused.stderr

    for part in data.glob("log.db*"):
        part.unlink()
    third = Pipeline("sqlite", tmp_path)
    third.log_events(CLICKS, ["d"])
    third.ingest()
    report = third.container.auditor().run()
    rows = third.container.observer().recent("clicks", limit=1)
    third.close()
    assert report.ok
    assert rows[0]["ingestion_id"] == "raw.clicks.v1@2-0-0"
