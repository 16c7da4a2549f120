"""How commands answer: tables on a terminal, plain columns in a pipe, JSON when asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence

Cell = str | int | float | None


def say(text: str = "") -> None:
    """One line of the answer."""
    print(text)


def warn(text: str) -> None:
    """One line beside the answer, on standard error."""
    print(f"flowguard: {text}", file=sys.stderr, flush=True)


def as_json(value: object) -> None:
    """The answer as indented JSON; Decimal as a number, times in RFC 3339."""
    import msgspec

    from flowguard.domain.payload import encode

    print(msgspec.json.format(encode(value), indent=2).decode(), flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Rows under their columns. Numbers stand to the right, with thousands apart on a terminal."""
    right = [bool(rows) and all(isinstance(row[at], int | float | None) for row in rows) for at in range(len(columns))]
    if not sys.stdout.isatty():
        _plain([list(columns), *([_text(cell, "") for cell in row] for row in rows)], right)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    rich = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, to_right in zip(columns, right, strict=True):
        rich.add_column(name, justify="right" if to_right else "left", overflow="fold")
    for row in rows:
        rich.add_row(*(_text(cell, ",") for cell in row))
    Console(markup=False, highlight=False).print(rich)


def _plain(lines: list[list[str]], right: list[bool]) -> None:
    widths = [max(len(line[at]) for line in lines) for at in range(len(right))]
    for line in lines:
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ]
        say("  ".join(cells).rstrip())


def _text(cell: Cell, thousands: str) -> str:
    match cell:
        case None:
            return "-"
        case int():
            return f"{cell:{thousands}}"
        case float():
            return f"{cell:{thousands}.1f}"
        case _:
            return cell
