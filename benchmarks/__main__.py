"""`python -m benchmarks [PART ...] [--quick]`: prints a table; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable

from benchmarks import backlog, core, embedded, kafka, postgres, snowflake, startup
from benchmarks.report import Line, table

_PARTS: dict[str, Callable[[float, int], list[Line]]] = {
    "startup": lambda _scale, runs: startup.run(5 * runs),
    "core": lambda scale, runs: core.run(int(500_000 * scale), runs),
    "embedded": lambda scale, runs: embedded.run(int(200_000 * scale), runs),
    "kafka": lambda scale, runs: kafka.run(int(300_000 * scale), runs),
    "postgres": lambda scale, runs: postgres.run(int(300_000 * scale), runs, int(10_000_000 * scale)),
    "snowflake": lambda _scale, runs: snowflake.run(runs),
    "backlog": lambda scale, _runs: backlog.run(int(5_000_000 * scale)),
}


def main() -> None:
    """Run the parts that were asked for, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(_PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the events, one run each")
    given = parser.parse_args()
    parts = given.parts or list(_PARTS)
    runs = 1 if given.quick else 3
    scale = 0.1 if given.quick else 1.0
    lines: list[Line] = []
    for part in parts:
        if part not in _PARTS:
            parser.error(f"there is no part {part!r}; there are {', '.join(_PARTS)}")
        print(f"measuring {part} ...", file=sys.stderr, flush=True)
        lines += _PARTS[part](scale, runs)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, medians of {runs}")
    print(table(lines))


if __name__ == "__main__":
    main()
