"""`python -m flowguard` is `flowguard`."""

from flowguard.entrypoints.cli.main import run

run()
