"""Flags that several commands share."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Folder of the embedded log and warehouse [FLOWGUARD_DATA_DIR; default ./flowguard-data].",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on [FLOWGUARD_HOST; default 127.0.0.1].")]
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65_535, help="Port, 0 for any [FLOWGUARD_PORT; default 8000].")
]
Url = Annotated[str | None, typer.Option("--url", help="The gateway [default: http://HOST:PORT of the settings].")]
RetryFor = Annotated[
    float, typer.Option("--retry-for", min=0, metavar="SECONDS", help="How long to try while the gateway is away.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log every request and commit too.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


class ExitCode(IntEnum):
    """What a command's exit code means; docs/reference/cli.md says more."""

    OK = 0
    FOUND = 1
    """audit or check found something, or lines were rejected."""
    USAGE = 2
    CONFIGURATION = 3
    UNREACHABLE = 4
    STOPPED = 5
    """The consumer stopped the line: too many dead letters."""
    BUG = 70
    INTERRUPTED = 130
