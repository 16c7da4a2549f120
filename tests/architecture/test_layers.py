"""What import-linter cannot say: calls of the clock, vendors in pure rooms, and the length of files."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "flowguard"
PURE_ROOMS = ("domain", "ports")
LONGEST_FILE = 400
MOST_METHODS = 5

VENDORS_OF_PURE_CODE = frozenset({"flowguard", "msgspec", "pydantic", "pydantic_core"})
CLOCK_CALLS = frozenset({"now", "utcnow", "today"})
IO_CALLS = frozenset({"open", "print", "input"})


def _sources(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (PACKAGE / room).rglob("*.py"))


def _impurities(source: str) -> Iterator[str]:
    """Everything in a module's source that a pure room may not hold, with its line."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=aliases):
                modules = [alias.name for alias in aliases]
            case ast.ImportFrom(module=module):
                modules = [module or ""]
            case ast.Attribute() if _is_clock(node):
                yield f"line {node.lineno}: reads the clock ({ast.unparse(node)})"
                continue
            case ast.Call(func=ast.Name(id=name)) if name in IO_CALLS:
                yield f"line {node.lineno}: does I/O ({name})"
                continue
            case _:
                continue
        for name in modules:
            root = name.partition(".")[0]
            if root not in sys.stdlib_module_names and root not in VENDORS_OF_PURE_CODE:
                yield f"line {node.lineno}: imports {name}, which is not stdlib, pydantic or msgspec"


def _is_clock(node: ast.Attribute) -> bool:
    return node.attr in CLOCK_CALLS and ast.unparse(node.value).split(".")[-1] in {"datetime", "date"}


@pytest.mark.parametrize("path", _sources(*PURE_ROOMS), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_domain_and_ports_are_pure(path: Path) -> None:
    assert list(_impurities(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("from datetime import datetime, UTC\nx = datetime.now(UTC)", "reads the clock (datetime.now)"),
        ("import datetime\nx = datetime.datetime.utcnow", "reads the clock (datetime.datetime.utcnow)"),
        ("from datetime import date\nx = date.today()", "reads the clock (date.today)"),
        ("def f():\n    from sqlalchemy.orm import Session", "imports sqlalchemy.orm"),
        ("print('x')", "does I/O (print)"),
    ],
)
def test_an_impurity_is_seen(source: str, complaint: str) -> None:
    assert any(complaint in found for found in _impurities(source))


def test_pure_code_is_let_through() -> None:
    source = "from datetime import datetime\nimport msgspec\ndef f(now: datetime, x):\n    return x.now\n"
    assert list(_impurities(source)) == []


def test_every_method_of_a_port_states_its_contract_and_they_are_few() -> None:
    for path in _sources("ports"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for port in (node for node in tree.body if isinstance(node, ast.ClassDef) and _is_protocol(node)):
            methods = [node for node in port.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
            assert [m.name for m in methods if ast.get_docstring(m) is None] == [], port.name
            assert len(methods) <= MOST_METHODS, port.name


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).split("[")[0] in {"Protocol", "typing.Protocol"} for base in node.bases)


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    long = {
        str(path.relative_to(ROOT)): length
        for folder in ("src", "tests", "benchmarks", "examples", "tools")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (length := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE
    }
    assert long == {}


def test_no_module_is_named_after_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    assert [str(path.relative_to(ROOT)) for path in _sources(".") if path.stem in vague] == []
