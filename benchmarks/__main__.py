"""`python -m benchmarks [core|embedded|startup] [--quick]`: prints a table; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import platform
import sys

from benchmarks.report import Line, table


def main() -> None:
    """Run the parts that were asked for, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", help="core, embedded, startup (default: all)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the events, one run each")
    given = parser.parse_args()
    parts = given.parts or ["startup", "core", "embedded"]
    runs = 1 if given.quick else 3
    scale = 0.1 if given.quick else 1
    lines: list[Line] = []
    for part in parts:
        print(f"measuring {part} ...", file=sys.stderr, flush=True)
        if part == "core":
            from benchmarks import core

            lines += core.run(int(500_000 * scale), runs)
        elif part == "embedded":
            from benchmarks import embedded

            lines += embedded.run(int(200_000 * scale), runs)
        elif part == "startup":
            from benchmarks import startup

            lines += startup.run(5 * runs)
        else:
            parser.error(f"there is no part {part!r}; there are core, embedded and startup")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, medians of {runs}")
    print(table(lines))


if __name__ == "__main__":
    main()
