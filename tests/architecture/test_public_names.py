"""The names that FlowGuard's users import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import flowguard

_LOADED = "import sys, flowguard; print(' '.join(name.partition('.')[0] for name in sys.modules))"


@pytest.mark.parametrize("name", flowguard.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(flowguard, name) is not None
    assert name in dir(flowguard)


def test_a_name_that_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Pipelin'"):
        _ = flowguard.Pipelin


def test_the_import_alone_loads_nothing_that_is_not_asked_for() -> None:
    loaded = subprocess.run([sys.executable, "-c", _LOADED], check=True, capture_output=True, text=True).stdout.split()
    assert not {"pydantic", "starlette", "uvicorn", "dependency_injector", "typer", "msgspec"} & set(loaded)
