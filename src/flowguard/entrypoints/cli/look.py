"""`status`, `audit` and `events`: what log, warehouse and dead-letter queue tell, whether `up` runs or not."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flowguard.entrypoints.cli.options import DataDir, ExitCode, Json

if TYPE_CHECKING:
    from flowguard.application.audit import AuditReport
    from flowguard.domain.audit import Gap

_MORE = 20
"""Lines that a text answer gives to gaps and doubled ids; --json has them all."""


def status(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Per stream: what was logged, landed and dead-lettered, and how far the consumer is behind."""
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import looking_from_outside

    with looking_from_outside({"data_dir": data_dir}) as container:
        found = container.observer().status()
    if as_json:
        output.as_json(found)
        return
    output.table(
        ("stream", "topic", "logged", "landed", "dead lettered", "lag", "oldest unlanded", "metadata"),
        [
            (
                name,
                one["topic"],
                one["logged"],
                one["landed"],
                one["dead_lettered"],
                one["lag"],
                None if one["oldest_unlanded_s"] is None else f"{one['oldest_unlanded_s']:.1f} s",
                f"{one['metadata_complete']:.1%}",
            )
            for name, one in found["streams"].items()
        ],
    )


def audit(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Is every accepted record landed once, or resolved some other way? Exits 1 when not, and names the gaps."""
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import looking_from_outside

    with looking_from_outside({"data_dir": data_dir}) as container:
        report = container.auditor().run()
    if as_json:
        output.as_json(report.as_json())
    else:
        _print_audit(report)
    if not report.ok:
        raise typer.Exit(ExitCode.FOUND)


def events(
    *,
    stream: Annotated[str | None, typer.Option("--stream", help="One stream; all of them otherwise.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many.")] = 20,
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="COLUMN=VALUE", help="Only rows with this value; repeatable.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """The rows that landed last, newest first."""
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import looking_from_outside

    conditions = _conditions(where or [])
    with looking_from_outside({"data_dir": data_dir}) as container:
        rows = container.observer().recent(stream, limit, conditions)
    if as_json:
        import msgspec

        # The payload is JSON already, and is shown as the producer sent it.
        output.as_json([{**row, "payload": msgspec.Raw(str(row["payload"]).encode())} for row in rows])
        return
    columns = ("ingested_at", "event_type", "ingestion_id", "payload")
    output.table(
        [column.replace("_", " ") for column in columns],
        [[_text(row[column]) for column in columns] for row in rows],
        cut_last=True,
    )


def _text(value: object) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)


def _conditions(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        column, equals, value = text.partition("=")
        if not equals or not column:
            raise typer.BadParameter(f"{text!r}: write COLUMN=VALUE", param_hint="--where")
        found[column.lower()] = value
    return found


def _print_audit(report: AuditReport) -> None:
    from flowguard.entrypoints.cli import output

    kinds = ("logged", "landed", "dead_lettered", "filtered", "duplicates", "in_flight")
    output.table(
        ("stream", *(kind.replace("_", " ") for kind in kinds), "missing", "doubled"),
        [
            (
                name,
                *(getattr(one, kind) for kind in kinds),
                sum(gap.last - gap.first + 1 for gap in one.missing),
                len(one.doubled),
            )
            for name, one in report.streams.items()
        ],
    )
    for one in report.streams.values():
        lines = [f"missing: {_place(gap)}" for gap in one.missing] + [f"doubled: {name}" for name in one.doubled]
        for line in lines[:_MORE]:
            output.say(line)
        if len(lines) > _MORE:
            output.say(f"and {len(lines) - _MORE} more: see --json")
    output.say("ok: every record is accounted for, once" if report.ok else "NOT ok: see missing and doubled above")


def _place(gap: Gap) -> str:
    """`raw.clicks.v1-0: offsets 237..241`."""
    incarnation = "" if gap.incarnation == 1 else f"@{gap.incarnation}"
    offsets = f"offset {gap.first}" if gap.first == gap.last else f"offsets {gap.first}..{gap.last}"
    return f"{gap.partition.topic}{incarnation}-{gap.partition.partition}: {offsets}"
