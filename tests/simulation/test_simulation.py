"""Two thousand worlds in each test run; more by hand: `python -m tests.simulation`, see docs/simulation.md."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.found import BUGS, Bug
from tests.simulation.plan import FAULTS
from tests.simulation.runner import Totals, run_seed, run_seeds

SEEDS = 2_000
EFFECTS = {"fenced", "storm", "flow_paused", "flow_resumed"}
"""What faults have to lead to, somewhere."""


@pytest.fixture(scope="module")
def totals() -> Totals:
    *_, last = run_seeds(0, SEEDS, jobs=min(2, os.cpu_count() or 1))
    return last


def test_no_promise_is_broken_in_any_world(totals: Totals) -> None:
    assert totals.seeds == SEEDS
    assert totals.broken == {}, "repeat one with: python -m tests.simulation --start SEED --seeds 1 --verbose"


def test_every_kind_of_fault_fired(totals: Totals) -> None:
    assert {*FAULTS, *EFFECTS} - {kind for kind, times in totals.fired.items() if times} == set()


def test_the_same_seed_gives_the_same_trace_whatever_the_hash_seed() -> None:
    program = "from tests.simulation.runner import run_seed; print([run_seed(seed).digest for seed in range(40, 60)])"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4711")
    }
    assert digests == {f"{[run_seed(seed).digest for seed in range(40, 60)]}\n"}


@pytest.mark.parametrize("bug", [pytest.param(bug, id=name) for name, bug in BUGS.items()])
def test_a_bug_that_was_found_would_be_found_again(bug: Bug) -> None:
    outcomes = (run_seed(seed, bug.parts, bug.faults).broken for seed in range(bug.within))
    assert any(broken is not None and broken.startswith(bug.rule) for broken in outcomes)


def test_by_hand_it_tells_what_it_did() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "30", "--start", "100"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told[0].split() == ["fault", "fired", "not", "fired"]
    assert told[-1].startswith("30 seeds, ")
    assert ", 0 failed, " in told[-1]
