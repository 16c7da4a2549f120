"""What a start imports: only what the command needs. A name here costs tens of milliseconds at every call."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = frozenset(
    {"asyncio", "dependency_injector", "http", "httptools", "pydantic", "sqlite3", "starlette", "uvicorn", "msgspec"}
)


def _imported(program: str) -> set[str]:
    code = f"{program}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return set(done.stdout.splitlines())


def test_the_command_line_itself_needs_nothing_heavy() -> None:
    assert _imported("import flowguard.entrypoints.cli.main") & HEAVY == set()


@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
def test_only_the_adapters_that_were_chosen_are_imported(scheme: str) -> None:
    url = "memory://" if scheme == "memory" else "sqlite:////nowhere/x.db"
    found = _imported(
        "from flowguard.container import Container\n"
        "from flowguard.settings import Settings\n"
        f"container = Container(settings=Settings(log_url='{url}', sink_url='{url}'))\n"
        "container.observer()\n"
        "container.source()\n"
        "container.sink()\n"
    )
    adapters = {name.split(".")[2] for name in found if name.startswith("flowguard.adapters.")}
    assert adapters == {scheme, "system"}
    assert found & {"uvicorn", "typer", "rich"} == set()  # dependency-injector itself looks for starlette
