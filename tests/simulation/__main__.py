"""`python -m tests.simulation --seeds N --start S`: simulate many worlds; exit 1 where a promise was broken."""

from __future__ import annotations

import argparse
import sys
from time import monotonic

from tests.simulation.plan import FAULTS
from tests.simulation.runner import Totals, run_seed, run_seeds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many worlds")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes to use")
    parser.add_argument("--verbose", action="store_true", help="print the trace of what failed")
    parser.add_argument("--fail-fast", action="store_true", help="end with the first chunk that holds a failure")
    given = parser.parse_args()
    began = shown = monotonic()
    totals, told = Totals(), set[int]()
    for totals in run_seeds(given.start, given.seeds, given.jobs):
        if monotonic() - shown > 10:
            shown = monotonic()
            print(
                f"{totals.seeds} seeds, {len(totals.broken)} failed, {shown - began:.0f} s", file=sys.stderr, flush=True
            )
        for seed in sorted(totals.broken.keys() - told):
            _tell(seed, totals.broken[seed], verbose=given.verbose)
        told.update(totals.broken)
        if told and given.fail_fast:
            break
    print(_table(totals))
    print(
        f"{totals.seeds} seeds, {totals.records} records, {len(totals.broken)} failed, {monotonic() - began:.1f} s;"
        f" at most {totals.slowest_settling:.1f} simulated s to settle"
    )
    return 1 if totals.broken else 0


def _tell(seed: int, broken: str, *, verbose: bool) -> None:
    print(f"seed {seed}: {broken}\n    python -m tests.simulation --start {seed} --seeds 1 --verbose", flush=True)
    if verbose:
        for when, *what in run_seed(seed).trace:
            print(f"    {when!s:>12}  {' '.join(map(str, what))}")


def _table(totals: Totals) -> str:
    kinds = sorted({*FAULTS, *totals.fired, *totals.unfired})
    lines = [f"{'fault':<32}{'fired':>10}{'not fired':>12}"]
    lines += [f"{kind:<32}{totals.fired[kind]:>10}{totals.unfired[kind]:>12}" for kind in kinds]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
