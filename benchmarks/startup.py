"""How long a newcomer waits: for the import, and from the start of `flowguard up` to the first 202."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from benchmarks.pipeline import Pipeline
from benchmarks.report import Line

_IMPORT = "from time import perf_counter as t; a = t(); import flowguard; print((t() - a) * 1000)"


def _import_ms() -> float:
    out = subprocess.run([sys.executable, "-c", _IMPORT], check=True, capture_output=True, text=True)
    return float(out.stdout)


def _python_ms() -> float:
    start = perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return (perf_counter() - start) * 1000


def _first_202_ms() -> float:
    with tempfile.TemporaryDirectory() as folder, Pipeline(Path(folder)) as pipeline:
        return pipeline.first_answer_s * 1000


def run(runs: int) -> list[Line]:
    """Two lines, in milliseconds."""
    return [
        Line(
            "import flowguard",
            "ms",
            statistics.median(_import_ms() for _ in range(runs)),
            goal=150,
            lower_is_better=True,
        ),
        Line(
            "start of `flowguard up` to the first 202",
            "ms",
            statistics.median(_first_202_ms() for _ in range(runs)),
            "`python -c pass`",
            statistics.median(_python_ms() for _ in range(runs)),
            1_500,
            lower_is_better=True,
        ),
    ]
