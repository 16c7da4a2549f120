"""The console script. Commands are found here; what goes wrong becomes one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from flowguard import __version__
from flowguard.domain.errors import ConfigurationError, FlowGuardError, TransientError
from flowguard.entrypoints.cli.backfill import backfill
from flowguard.entrypoints.cli.checking import check, migrate
from flowguard.entrypoints.cli.dev import dev
from flowguard.entrypoints.cli.look import audit, events, status
from flowguard.entrypoints.cli.options import ExitCode
from flowguard.entrypoints.cli.output import warn
from flowguard.entrypoints.cli.publish import publish
from flowguard.entrypoints.cli.relay import relay
from flowguard.entrypoints.cli.repair import dlq, replay
from flowguard.entrypoints.cli.serve import consume, gateway, up
from flowguard.entrypoints.cli.traffic import traffic


def _version(wanted: bool) -> None:
    if wanted:
        print(f"flowguard {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="flowguard",
    help="Events in over HTTP, kept in a log, landed exactly once: as a row, or as a dead letter that says why.",
    epilog="Settings: flags, then FLOWGUARD_* variables, then flowguard.toml. See `flowguard check`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _main(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    pass


_COMMANDS: tuple[Callable[..., None], ...] = (
    *(up, gateway, consume, migrate),
    *(publish, traffic),
    *(status, audit, events, replay, check),
)
for _command in _COMMANDS:
    app.command()(_command)
app.add_typer(relay, name="relay")
app.add_typer(dlq, name="dlq")
app.add_typer(backfill, name="backfill")
app.add_typer(dev, name="dev")


def run() -> None:
    """`flowguard`. Never returns."""
    try:
        app()
    except FlowGuardError as error:
        warn(str(error))
        sys.exit(exit_code_of(error))
    except Exception as error:
        if os.environ.get("FLOWGUARD_TRACEBACK"):
            raise
        warn(f"a bug: {type(error).__name__}: {error} (FLOWGUARD_TRACEBACK=1 shows where)")
        sys.exit(ExitCode.BUG)


def exit_code_of(error: FlowGuardError) -> ExitCode:
    """What the error means for the exit code."""
    from flowguard.application.ingest import LineStoppedError
    from flowguard.application.observe import NoSuchNameError

    match error:
        case ConfigurationError():
            return ExitCode.CONFIGURATION
        case TransientError():
            return ExitCode.UNREACHABLE
        case NoSuchNameError():
            return ExitCode.USAGE
        case LineStoppedError():
            return ExitCode.STOPPED
        case _:
            return ExitCode.BUG
