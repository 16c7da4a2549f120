"""`dev`: servers for developers and for trying things out, on this machine."""

from __future__ import annotations

import typer

from flowguard.entrypoints.cli.dev_kafka import kafka
from flowguard.entrypoints.cli.dev_postgres import postgres
from flowguard.entrypoints.cli.dev_snowflake import snowflake

dev = typer.Typer(help="Servers for developers, on this machine: `dev kafka up`.", no_args_is_help=True)
dev.add_typer(kafka, name="kafka")
dev.add_typer(postgres, name="postgres")
dev.add_typer(snowflake, name="snowflake")
