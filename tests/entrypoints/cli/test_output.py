"""Tables: on a terminal of 80 columns, and in a pipe."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import pytest

from flowguard.entrypoints.cli.output import Cell, table

COLUMNS = ("stream", "oldest unlanded", "logged", "payload")
ROWS = [("clicks", None, 1_234_567, "x" * 200), ("orders", "1.5 s", 0, "y")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


Shown = Callable[..., str]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What a terminal shows of a table of these rows."""

    def show(rows: Sequence[Sequence[Cell]], *, cut_last: bool = False) -> str:
        screen = Terminal()
        monkeypatch.setattr("sys.stdout", screen)
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("TERM", "dumb")
        table(COLUMNS, rows, cut_last=cut_last)
        return screen.getvalue()

    return show


def test_on_a_terminal_figures_are_whole_and_long_text_can_be_cut(shown: Shown) -> None:
    lines = [line.rstrip() for line in shown(ROWS, cut_last=True).splitlines()]
    assert max(map(len, lines)) <= 80
    first, second = lines[-2:]
    assert first.startswith("clicks -")
    assert " 1,234,567 xxx" in first
    assert first.endswith("x…")
    assert second.split() == ["orders", "1.5", "s", "0", "y"]


def test_on_a_terminal_long_text_is_whole_otherwise(shown: Shown) -> None:
    assert shown(ROWS).count("x") == 200


def test_a_table_of_nothing_is_its_heads(shown: Shown) -> None:
    assert shown([]).split() == ["stream", "oldest", "unlanded", "logged", "payload"]


def test_in_a_pipe_columns_are_plain_and_heads_have_no_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    table(COLUMNS, ROWS, cut_last=True)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["stream", "oldest-unlanded", "logged", "payload"]
    assert first.split() == ["clicks", "-", "1234567", "x" * 200]
    assert second.index("0") + 1 == head.index("logged") + len("logged")
