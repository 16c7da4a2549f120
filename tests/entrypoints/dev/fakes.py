"""Programs on a PATH of the test's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, scripts: Mapping[str, str]) -> None:
    """A PATH that holds these shell scripts and nothing else; no JAVA_HOME."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, script in scripts.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)


def java_of(version: str) -> str:
    """A script that says of itself what that Java would."""
    return f"echo 'openjdk version \"{version}\" 2024-01-16' >&2"
