"""The run itself, in one process and in several: what was skipped is told, and what is required may not be skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
CONFIG = '[tool.pytest.ini_options]\nmarkers = ["kafka: needs a broker", "postgres: needs a server", "quick: runs"]\n'
TESTS = """
import pytest

@pytest.mark.kafka
@pytest.mark.parametrize("n", range(3))
def test_on_kafka(n):
    pytest.skip("no broker at FLOWGUARD_TEST_KAFKA")

@pytest.mark.quick
def test_that_runs():
    pass
"""
WHOLE_FILE = 'import pytest\npytest.skip("not on this system", allow_module_level=True)\n'

Run = Callable[..., tuple[int, str]]
"""Given options, and variables of the environment: the exit code, and what it said."""


@pytest.fixture(params=[[], ["-n2", "--dist=loadfile"]], ids=["one process", "two workers"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    shutil.copy(CONFTEST, tmp_path)
    servers = tmp_path / "tests" / "servers"
    servers.mkdir(parents=True)
    for name in ("kafka", "postgres", "snowflake"):  # what the conftest names: no test here has a use for them
        (servers / f"{name}.py").touch()
    # A folder's name is among the keywords of its tests, and marks none of them.
    for folder in ("kafka", "postgres"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pyproject.toml").write_text(CONFIG)
    (tmp_path / "kafka" / "test_some.py").write_text(TESTS)
    (tmp_path / "postgres" / "test_others.py").write_text("def test_that_runs_too():\n    pass\n")
    (tmp_path / "test_whole_file.py").write_text(WHOLE_FILE)
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "FLOWGUARD_", "PYTEST_"))}

    def run(*options: str, **env: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "xdist.plugin", *request.param, *options],
            cwd=tmp_path,
            env=bare | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | env,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_skips_are_summed_up_by_reason(run: Run) -> None:
    code, output = run()
    assert code == 0
    assert "3 tests skipped [kafka]: no broker at FLOWGUARD_TEST_KAFKA" in output
    assert "1 test skipped (a whole file): not on this system" in output


def test_what_the_command_line_leaves_out_is_counted(run: Run) -> None:
    code, output = run("-m", "not kafka")
    assert code == 0
    assert "3 tests left out by the command line" in output


def test_a_required_test_may_not_be_skipped_in_ci(run: Run) -> None:
    code, output = run(CI="true", FLOWGUARD_REQUIRE="kafka")
    assert code == 1
    assert "required here (kafka), but skipped: no broker at FLOWGUARD_TEST_KAFKA" in output
    assert "3 failed, 2 passed" in output


def test_a_required_marker_without_any_test_fails_the_run(run: Run) -> None:
    code, output = run(CI="true", FLOWGUARD_REQUIRE="postgres")
    assert code == 1
    assert "FLOWGUARD_REQUIRE names postgres, and no test with that marker ran" in output


def test_a_required_marker_with_a_test_that_ran_is_met(run: Run) -> None:
    code, output = run(CI="true", FLOWGUARD_REQUIRE="quick")
    assert code == 0, output


def test_a_requirement_counts_in_ci_only(run: Run) -> None:
    assert run(FLOWGUARD_REQUIRE="kafka")[0] == 0


def test_an_unknown_requirement_is_refused(run: Run) -> None:
    code, output = run(CI="true", FLOWGUARD_REQUIRE="oracle")
    assert code != 0
    assert "FLOWGUARD_REQUIRE names no such marker: oracle" in output
