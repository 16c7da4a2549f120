"""What every test run shares: Hypothesis profiles, and a summary that says in plain words what did not run.

A test that needs a service carries its marker (see `markers` in pyproject.toml) and skips itself from a
fixture when the service is not there. `FLOWGUARD_REQUIRE`, a comma list of markers, is heeded when `CI=true`:
a test with such a marker may not skip, and at least one must run.

`make test` runs the files in several processes (pytest-xdist). What a test was marked with travels in its reports, for
the process that sums up has not collected any test.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

# The contract suites are not named test_*, and their asserts should explain themselves all the same.
pytest.register_assert_rewrite("tests.contracts")

# Real servers for tests, started when first asked for.
pytest_plugins = ["tests.servers.kafka", "tests.servers.postgres", "tests.servers.snowflake"]

IN_CI = os.environ.get("CI") == "true"

# At a desk: new examples at every run. No deadlines: a slow machine is not a wrong answer.
settings.register_profile("default", deadline=None, max_examples=100, print_blob=True)
# In CI: the same commit gives the same verdict; what is new is searched for at desks and with `deep`.
settings.register_profile(
    "ci",
    settings.get_profile("default"),
    max_examples=200,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# By hand, for long: pytest --hypothesis-profile=deep
settings.register_profile(
    "deep",
    settings.get_profile("default"),
    max_examples=10_000,
    suppress_health_check=[HealthCheck.too_slow],
    phases=tuple(Phase),
)
settings.load_profile("ci" if IN_CI else "default")

_MARKER = "marker"
"""A property of a report, for each marker of its test: its keywords have the names of folders among them."""
_LEFT_OUT = "left_out"

_ran: set[str] = set()
"""Markers."""
_left_out: set[str] = set()
"""Node ids."""


def _required() -> frozenset[str]:
    """The markers whose tests may not be skipped in this run."""
    names = os.environ.get("FLOWGUARD_REQUIRE", "") if IN_CI else ""
    return frozenset(name.strip() for name in names.split(",") if name.strip())


def _never_ran(config: pytest.Config) -> frozenset[str]:
    return frozenset() if config.option.collectonly else _required() - _ran


def pytest_configure(config: pytest.Config) -> None:
    known = {line.split(":")[0].split("(")[0].strip() for line in config.getini("markers")}
    if unknown := _required() - known:
        message = f"FLOWGUARD_REQUIRE names no such marker: {', '.join(sorted(unknown))}"
        raise pytest.UsageError(message)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Among several processes, what takes longest goes first: the last to end then has little to do alone."""
    if _worker_output(config) is not None:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: (item.path not in slow, "faults" not in item.path.parts))


def pytest_deselected(items: Iterable[pytest.Item]) -> None:
    _left_out.update(item.nodeid for item in items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    markers = {mark.name for mark in item.iter_markers()}
    report.user_properties.extend((_MARKER, name) for name in sorted(markers))
    if report.skipped and not hasattr(report, "wasxfail") and (needed := markers & _required()):
        report.outcome = "failed"
        report.longrepr = f"required here ({', '.join(sorted(needed))}), but skipped: {_reason(report)}"
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        _ran.update(_markers_of(report))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ANN401  # of pytest-xdist, which may not be there
    """A worker has ended; one that crashed has left no output."""
    _left_out.update(getattr(node, "workeroutput", {}).get(_LEFT_OUT, ()))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    output = _worker_output(session.config)
    if output is not None:
        output[_LEFT_OUT] = sorted(_left_out)
    elif session.exitstatus == pytest.ExitCode.OK and _never_ran(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped: list[pytest.TestReport | pytest.CollectReport] = terminalreporter.stats.get("skipped", [])
    missing = _never_ran(config)
    if not skipped and not _left_out and not missing:
        return
    terminalreporter.section("What did not run, and why")
    for line in _summary_lines(skipped):
        terminalreporter.line(line)
    if _left_out:
        terminalreporter.line(f"{_tests(len(_left_out))} left out by the command line (-k, -m or --deselect)")
    for marker in sorted(missing):
        terminalreporter.line(f"FLOWGUARD_REQUIRE names {marker}, and no test with that marker ran", red=True)


def _summary_lines(skipped: Iterable[pytest.TestReport | pytest.CollectReport]) -> Iterable[str]:
    """One line for each reason, the most frequent first, with the markers of the tests that gave it."""
    groups: Counter[tuple[str, str]] = Counter()
    for report in skipped:
        markers = _markers_of(report) & _SERVICES
        label = f" [{', '.join(sorted(markers))}]" if markers else ""
        whole_file = " (a whole file)" if isinstance(report, pytest.CollectReport) else ""
        groups[label + whole_file, _reason(report)] += 1
    for (label, reason), count in groups.most_common():
        yield f"{_tests(count)} skipped{label}: {reason}"


def _worker_output(config: pytest.Config) -> dict[str, Any] | None:
    """Where this process runs tests for another one, which sums up: what it is told in the end."""
    return getattr(config, "workeroutput", None)


def _markers_of(report: pytest.TestReport | pytest.CollectReport) -> set[str]:
    """Of its test; a file that was skipped as a whole has none."""
    properties = report.user_properties if isinstance(report, pytest.TestReport) else []
    return {str(value) for name, value in properties if name == _MARKER}


_SERVICES = frozenset({"browser", "kafka", "postgres", "realdata", "snowflake"})


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ").strip() or "no reason given"


def _tests(count: int) -> str:
    return f"{count} test" if count == 1 else f"{count} tests"
