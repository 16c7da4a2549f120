"""The simulation catches code that is deliberately broken, and says which promise it breaks."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.runner import run_seed


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=name) for name, mutant in MUTANTS.items()])
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    seeds = range(mutant.within)
    assert any(run_seed(seed, mutant.parts, mutant.faults).broken for seed in seeds), f"it survived {len(seeds)} seeds"


@pytest.mark.parametrize("faults", dict.fromkeys(mutant.faults for mutant in MUTANTS.values()), ids="+".join)
def test_the_real_code_survives_the_same_faults(faults: tuple[str, ...]) -> None:
    assert [broken for seed in range(10) if (broken := run_seed(seed, only=faults).broken)] == []
