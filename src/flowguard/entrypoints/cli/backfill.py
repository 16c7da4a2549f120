"""`backfill metadata`: what can be known of rows that landed before there was metadata."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from flowguard.entrypoints.cli.options import DataDir, DryRun, Json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowguard.container import Container
    from flowguard.ports.backfill import BackfillReport

backfill = typer.Typer(no_args_is_help=True, help="What older rows lack.")


@backfill.callback()
def _group() -> None:
    pass


@backfill.command()
def metadata(*, dry_run: DryRun = False, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Fill in what can be known of rows from before there was metadata, and mark the rest as unknown."""
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import looking_from_outside

    with looking_from_outside({"data_dir": data_dir}) as container:
        reports = _reports(container, dry_run=dry_run)
    if as_json:
        output.as_json({"dry_run": dry_run, "streams": {name: _json(one) for name, one in reports.items()}})
        return
    if not reports:
        output.say("nothing to fill: in this warehouse every row has had its metadata from the start")
        return
    output.table(
        ("stream", "rows", "would fill" if dry_run else "filled", "place unknown", "place known", "complete before",
         "complete after"),
        [
            (
                name,
                one.rows,
                one.filled,
                one.unknown,
                _percent(one.rows - one.unknown, one.rows),
                _percent(one.complete_before, one.rows),
                _percent(one.complete_after, one.rows),
            )
            for name, one in reports.items()
        ],
    )  # fmt: skip
    for name, one in reports.items():
        for column, old in one.taken:
            output.say(f"{name}: {column} is taken from {old}")


def _reports(container: Container, *, dry_run: bool) -> Mapping[str, BackfillReport]:
    from flowguard.entrypoints.cli import output

    filler = container.backfill()
    if filler is None:
        return {}
    reports = {}
    for event_type in container.catalog():
        name = event_type.name
        if dry_run:
            reports[name] = filler.plan(event_type)
        else:
            reports[name] = filler.run(event_type, partial(_say_how_far, name))
            output.progress("")
    return reports


def _say_how_far(name: str, rows: int) -> None:
    from flowguard.entrypoints.cli import output

    output.progress(f"{name}: {rows} rows filled")


def _json(one: BackfillReport) -> dict[str, object]:
    return {
        "rows": one.rows,
        "filled": one.filled,
        "place_unknown": one.unknown,
        "place_known": _share(one.rows - one.unknown, one.rows),
        "complete_before": _share(one.complete_before, one.rows),
        "complete_after": _share(one.complete_after, one.rows),
        "taken": dict(one.taken),
    }


def _share(part: int, rows: int) -> float:
    return part / rows if rows else 1.0


def _percent(part: int, rows: int) -> str:
    return f"{_share(part, rows):.1%}"
