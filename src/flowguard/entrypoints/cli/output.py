"""How commands answer: tables on a terminal, plain columns in a pipe, JSON when asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence

Cell = str | int | float | None
_LEAST_ROOM = 20


def say(text: str = "") -> None:
    """One line of the answer."""
    print(text)


def warn(text: str) -> None:
    """One line beside the answer, on standard error."""
    print(f"flowguard: {text}", file=sys.stderr, flush=True)


def progress(text: str) -> None:
    """How far it is, on a terminal only, in a line that the next one replaces; no text leaves it to what comes."""
    if sys.stderr.isatty():
        print(f"\r{text}", end="\x1b[K", file=sys.stderr, flush=True)


def as_json(value: object) -> None:
    """The answer as indented JSON; Decimal as a number, times in RFC 3339."""
    import msgspec

    from flowguard.domain.payload import encode

    print(msgspec.json.format(encode(value), indent=2).decode(), flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, cut_last: bool = False) -> None:
    """Rows under their columns. Numbers stand to the right, with thousands apart on a terminal.

    On a terminal the last column takes the room that is left: longer text is wrapped, or with `cut_last` cut off.
    """
    right = [bool(rows) and all(isinstance(row[at], int | float | None) for row in rows) for at in range(len(columns))]
    if not sys.stdout.isatty():
        heads = [name.replace(" ", "-") for name in columns]
        _plain([heads, *([_text(cell, "") for cell in row] for row in rows)], right)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False)
    texts = [[_text(cell, ",") for cell in row] for row in rows]
    # A heading of two words may take two lines; figures and names never do.
    widths = [
        max(len(word) for word in (*name.split(), " ", *(text[at] for text in texts)))
        for at, name in enumerate(columns[:-1])
    ]
    taken = sum(max(width, len(name)) + 1 for width, name in zip(widths, columns, strict=False))
    room = max(_LEAST_ROOM, console.width - taken - 1)
    rich = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name, to_right, width in zip(columns, right, [*widths, None], strict=True):
        rich.add_column(name, justify="right" if to_right else "left", min_width=width, overflow="fold")
    for *others, last in texts:
        rich.add_row(*others, f"{last[: room - 1]}…" if cut_last and len(last) > room else last)
    console.print(rich)


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
