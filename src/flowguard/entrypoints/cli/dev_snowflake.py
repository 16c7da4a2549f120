"""`dev snowflake`: a stand-in for Snowflake, on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowguard.entrypoints.cli import output
from flowguard.entrypoints.cli.configuration import folder_for
from flowguard.entrypoints.cli.options import DataDir, ExitCode, Json

if TYPE_CHECKING:
    from pathlib import Path

    from flowguard.entrypoints.dev.snowflake import SnowflakeServer

_FIRST_PORT = 8085

snowflake = typer.Typer(help="A local stand-in for Snowflake: up, down, status.", no_args_is_help=True)

ServerPort = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65_535, help=f"Port, 0 for any [default: as it was, at first {_FIRST_PORT}]."),
]


@snowflake.command()
def up(*, port: ServerPort = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Start the stand-in, and return when it is ready. It stays, with its data, until `dev snowflake down`."""
    from flowguard.entrypoints.dev.snowflake import SnowflakeServer

    server = _existing(data_dir)
    if port is None and not server.exists:
        port = _FIRST_PORT
    server = SnowflakeServer(server.folder, port=port or None, say=output.warn)
    server.start()
    if as_json:
        output.as_json(_described(server))
        return
    output.say("A stand-in for Snowflake is up. Use it by:")
    output.say(f"  export FLOWGUARD_SINK_URL='{server.url}'")
    output.say(f"Data and log are in {server.folder}; `flowguard dev snowflake down` stops it and keeps them.")


@snowflake.command()
def down(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Stop the stand-in. Its data stays for the next `up`."""
    server = _existing(data_dir)
    pid = server.pid
    if pid is not None:
        server.stop()
    if as_json:
        output.as_json({"stopped": [pid] if pid else [], "data_dir": str(server.folder)})
    elif pid is not None:
        output.say(f"Stopped; the data stays in {server.folder}.")
    else:
        output.say(f"No stand-in for Snowflake of {server.folder} is running.")


@snowflake.command()
def status(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Whether it runs, and where. Exits 1 unless it does, and answers."""
    server = _existing(data_dir)
    ready = server.pid is not None and server.ready
    if as_json:
        output.as_json({"up": ready, **_described(server)})
    elif not server.exists:
        output.say(f"There is no stand-in for Snowflake in {server.folder}; `flowguard dev snowflake up` makes one.")
    else:
        output.table(("address", "state", "pid"), [(server.address, "runs" if server.pid else "-", server.pid)])
        output.say(f"up: FLOWGUARD_SINK_URL='{server.url}'" if ready else "not up: the server does not answer")
    if not ready:
        raise typer.Exit(ExitCode.FOUND)


def _described(server: SnowflakeServer) -> dict[str, object]:
    return {
        "sink_url": server.url if server.exists else None,
        "address": server.address if server.exists else None,
        "pid": server.pid,
        "data_dir": str(server.folder),
    }


def _existing(data_dir: Path | None) -> SnowflakeServer:
    from flowguard.entrypoints.dev.snowflake import SnowflakeServer

    return SnowflakeServer(folder_for("snowflake", data_dir))
