"""`dev postgres`: a real PostgreSQL, on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowguard.entrypoints.cli import output
from flowguard.entrypoints.cli.configuration import folder_for
from flowguard.entrypoints.cli.options import DataDir, ExitCode, Json

if TYPE_CHECKING:
    from pathlib import Path

    from flowguard.entrypoints.dev.postgres import PostgresServer

_FIRST_PORT = 5432

postgres = typer.Typer(help="A real PostgreSQL: up, down, status.", no_args_is_help=True)

ServerPort = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65_535, help=f"Port, 0 for any [default: as it was, at first {_FIRST_PORT}]."),
]


@postgres.command()
def up(*, port: ServerPort = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Start PostgreSQL, and return when it is ready. It stays, with its data, until `dev postgres down`."""
    from flowguard.entrypoints.dev.postgres import PostgresServer

    server = _existing(data_dir)
    if port is None and not server.exists:
        port = _FIRST_PORT
    server = PostgresServer(server.folder, port=port or None)
    server.start()
    if as_json:
        output.as_json(_described(server))
        return
    output.say("PostgreSQL is up. Use it by:")
    output.say(f"  export FLOWGUARD_SINK_URL={server.url}")
    output.say(f"Data and log are in {server.folder}; `flowguard dev postgres down` stops it and keeps them.")


@postgres.command()
def down(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Stop PostgreSQL. Its data stays for the next `up`."""
    server = _existing(data_dir)
    pid = server.pid
    if pid is not None:
        server.stop()
    if as_json:
        output.as_json({"stopped": [pid] if pid else [], "data_dir": str(server.folder)})
    elif pid is not None:
        output.say(f"Stopped; the data stays in {server.folder}.")
    else:
        output.say(f"No PostgreSQL of {server.folder} is running.")


@postgres.command()
def status(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Whether it runs, and where. Exits 1 unless it does, and answers."""
    server = _existing(data_dir)
    ready = server.pid is not None and server.ready
    if as_json:
        output.as_json({"up": ready, **_described(server)})
    elif not server.exists:
        output.say(f"There is no PostgreSQL in {server.folder}; `flowguard dev postgres up` makes one.")
    else:
        output.table(("address", "state", "pid"), [(server.address, "runs" if server.pid else "-", server.pid)])
        output.say(f"up: FLOWGUARD_SINK_URL={server.url}" if ready else "not up: the server does not answer")
    if not ready:
        raise typer.Exit(ExitCode.FOUND)


def _described(server: PostgresServer) -> dict[str, object]:
    return {
        "sink_url": server.url if server.exists else None,
        "address": server.address if server.exists else None,
        "pid": server.pid,
        "data_dir": str(server.folder),
    }


def _existing(data_dir: Path | None) -> PostgresServer:
    from flowguard.entrypoints.dev.postgres import PostgresServer

    return PostgresServer(folder_for("postgres", data_dir))
