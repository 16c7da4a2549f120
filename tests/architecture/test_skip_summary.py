"""The run itself: what was skipped is told, and what is required may not be skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
CONFIG = '[tool.pytest.ini_options]\nmarkers = ["kafka: needs a broker", "postgres: needs a server"]\n'
TESTS = """
import pytest

@pytest.mark.kafka
@pytest.mark.parametrize("n", range(3))
def test_on_kafka(n):
    pytest.skip("no broker at FLOWGUARD_TEST_KAFKA")

def test_that_runs():
    pass
"""


def run(folder: Path, **env: str) -> tuple[int, str]:
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "pyproject.toml").write_text(CONFIG)
    (folder / "test_some.py").write_text(TESTS)
    bare = {name: value for name, value in os.environ.items() if name not in {"CI", "FLOWGUARD_REQUIRE"}}
    bare["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    bare["PYTHONPATH"] = str(CONFTEST.parents[1])  # the fixtures that it names are found
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=folder,
        env=bare | env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_skips_are_summed_up_by_reason(tmp_path: Path) -> None:
    code, output = run(tmp_path)
    assert code == 0
    assert "3 tests skipped [kafka]: no broker at FLOWGUARD_TEST_KAFKA" in output


def test_a_required_test_may_not_be_skipped_in_ci(tmp_path: Path) -> None:
    code, output = run(tmp_path, CI="true", FLOWGUARD_REQUIRE="kafka")
    assert code == 1
    assert "required here (kafka), but skipped: no broker at FLOWGUARD_TEST_KAFKA" in output
    assert "3 failed, 1 passed" in output


def test_a_required_marker_without_any_test_fails_the_run(tmp_path: Path) -> None:
    code, output = run(tmp_path, CI="true", FLOWGUARD_REQUIRE="postgres")
    assert code == 1
    assert "FLOWGUARD_REQUIRE names postgres, and no test with that marker ran" in output


def test_a_requirement_counts_in_ci_only(tmp_path: Path) -> None:
    assert run(tmp_path, FLOWGUARD_REQUIRE="kafka")[0] == 0


def test_an_unknown_requirement_is_refused(tmp_path: Path) -> None:
    code, output = run(tmp_path, CI="true", FLOWGUARD_REQUIRE="oracle")
    assert code != 0
    assert "FLOWGUARD_REQUIRE names no such marker: oracle" in output
