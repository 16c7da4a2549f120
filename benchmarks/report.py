"""A benchmark's line: what was measured, beside what the machine could do at best, and the goal."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True, slots=True)
class Line:
    """`value` and `raw` in `unit`; `goal` is a floor (rates) or, with `lower_is_better`, a ceiling; None: no goal."""

    name: str
    unit: str
    value: float
    raw_name: str = ""
    raw: float | None = None
    goal: float | None = None
    lower_is_better: bool = False

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value <= self.goal if self.lower_is_better else self.value >= self.goal


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = perf_counter()
    work()
    return perf_counter() - start


def median_rate(work: Callable[[], float], runs: int) -> float:
    """The median of what `work` returns, over so many runs after one that is not counted."""
    work()
    return statistics.median(work() for _ in range(runs))


def table(lines: Sequence[Line]) -> str:
    """A Markdown table: it reads on a terminal as well as in docs/benchmarks.md."""
    rows = [("what", "measured", "goal", "met", "raw limit, same run", "ratio")]
    for line in lines:
        goal = "" if line.goal is None else f"{'≤' if line.lower_is_better else '≥'} {line.goal:,.0f}"
        raw = "" if line.raw is None else f"{line.raw:,.0f} ({line.raw_name})"
        ratio = "" if line.raw is None else f"{line.value / line.raw:.2f}"
        met = {None: "", True: "yes", False: "**no**"}[line.met]
        rows.append((line.name, f"{line.value:,.0f} {line.unit}", goal, met, raw, ratio))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)
