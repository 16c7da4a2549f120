"""What the stand-in is told at its start."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Settings:
    """Each is an argument `name=value`."""

    data: Path
    """Of the database files; has to exist."""
    port: int
    database: str
    schema: str
    """Both are made when they are not there."""
    host: str = "127.0.0.1"
    faults: bool = False
    """Whether tests may set faults, at /fg/faults. Everybody who reaches the port can."""
    abandoned_s: float = 300.0
    """A transaction that others wait for is rolled back when its session is idle for so long: Snowflake's 5 minutes."""
    lock_timeout_s: float = 43_200.0
    """Of sessions that set no LOCK_TIMEOUT: Snowflake's 12 hours."""
    ddl_collation: str = ""
    """The account's DEFAULT_DDL_COLLATION: it is told, and nothing else is done with it."""
    memory_limit: str = "2GB"
    threads: int = 2

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Self:
        """Raises SystemExit for what is no setting."""
        kinds: dict[str, Callable[[str], object]] = {
            "data": Path,
            "port": int,
            "threads": int,
            "faults": _truth,
            "abandoned_s": float,
            "lock_timeout_s": float,
        }
        given: dict[str, object] = {}
        for argument in arguments:
            name, _, value = argument.partition("=")
            if name not in {field.name for field in fields(cls)}:
                raise SystemExit(f"{argument}: no such setting; there are {', '.join(f.name for f in fields(cls))}")
            given[name] = kinds.get(name, str)(value)
        return cls(**given)  # type: ignore[arg-type]  # each by its kind

    def clean_temporary(self) -> None:
        """Staged files, which need not outlive the server, go into a folder that each start empties."""
        folder = self.data / "temporary"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        tempfile.tempdir = str(folder)


def _truth(text: str) -> bool:
    return text not in {"", "0", "false"}
