"""`replay` and `dlq`: reading a range of the log again, and what to do with records that could not land."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flowguard.domain.dead_letters import Reason
from flowguard.entrypoints.cli.options import DataDir, DryRun, ExitCode, Json
from flowguard.ports.dead_letters import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowguard.application.relay import DeadLetterReplay
    from flowguard.application.replay import ReplayPlan, ReplayReport
    from flowguard.container import Container
    from flowguard.domain.ingestion import IngestionId
    from flowguard.ports.dead_letters import StoredDeadLetter

dlq = typer.Typer(no_args_is_help=True, help="Records that could not land: list, show, replay or discard them.")

Stream = Annotated[str | None, typer.Option("--stream", help="Only of this stream.")]
OnlyReason = Annotated[Reason | None, typer.Option("--reason", help="Only with this reason.")]


def replay(
    *,
    stream: Annotated[str, typer.Option("--stream", help="The stream, for example clicks.")],
    partition: Annotated[int, typer.Option("--partition", min=0)],
    first: Annotated[int, typer.Option("--from", min=0, metavar="OFFSET", help="First offset to read again.")],
    last: Annotated[
        int | None, typer.Option("--to", min=0, metavar="OFFSET", help="Last offset, inclusive [default: the end].")
    ] = None,
    dry_run: DryRun = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Read a range of the log again: what is missing lands, what exists is skipped. Says first what that will do."""
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import looking_from_outside

    if last is not None and last < first:
        raise typer.BadParameter(f"--to {last} lies before --from {first}", param_hint="--to")
    report = None
    with looking_from_outside({"data_dir": data_dir}) as container:
        replayer = container.replayer()
        plan = replayer.plan(stream, partition, first, last)
        if not as_json:
            _print_plan(plan, first, last)
        if not dry_run:
            report = replayer.run(plan)
    if as_json:
        output.as_json({"plan": _plan_json(plan), "done": None if report is None else asdict(report)})
    elif report is not None:
        _print_report(plan, report)


@dlq.command("list")
def list_(
    *,
    stream: Stream = None,
    reason: OnlyReason = None,
    state: Annotated[State, typer.Option("--state", help="Only in this state.")] = State.OPEN,
    every_state: Annotated[bool, typer.Option("--all", help="In any state.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many.")] = 100,
    after: Annotated[str | None, typer.Option("--after", metavar="ID", help="Go on from past this one.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Dead letters, in the order of their ingestion ids."""
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import looking_from_outside

    with looking_from_outside({"data_dir": data_dir}) as container:
        letters = container.dead_letters().page(
            topic=_topic(container, stream),
            reason=reason,
            state=None if every_state else state,
            limit=limit,
            after=None if after is None else _id(after),
        )
    if as_json:
        output.as_json([_summary(one) for one in letters])
        return
    output.table(
        ("ingestion id", "reason", "state", "attempts", "last seen", "error"),
        [
            (
                str(one.letter.ingestion_id),
                one.letter.reason,
                one.state,
                one.attempts,
                one.last_seen.isoformat(timespec="seconds"),
                one.letter.error,
            )
            for one in letters
        ],
    )
    if len(letters) == limit:
        output.say(f"there may be more: --after {letters[-1].letter.ingestion_id}")


@dlq.command()
def show(
    ingestion_id: Annotated[str, typer.Argument(metavar="ID", help="As `dlq list` prints it.")],
    *,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """One dead letter: why, and the record as it was logged."""
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import looking_from_outside

    wanted = _id(ingestion_id)
    with looking_from_outside({"data_dir": data_dir}) as container:
        before = wanted._replace(offset=wanted.offset - 1)
        found = [
            one
            for one in container.dead_letters().page(topic=wanted.topic, after=before, limit=1)
            if one.letter.ingestion_id == wanted
        ]
    if not found:
        output.warn(f"there is no dead letter {wanted}; see `flowguard dlq list --all`")
        raise typer.Exit(ExitCode.USAGE)
    details = _details(found[0])
    if as_json:
        output.as_json(details)
        return
    for name, value in details.items():
        output.say(f"{name.replace('_', ' '):14} {value}")


@dlq.command("replay")
def replay_letters(
    ingestion_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="These.")] = None,
    *,
    stream: Stream = None,
    reason: OnlyReason = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    dry_run: DryRun = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put open dead letters on their topic again, for example after the catalog was mended. They land once at most."""
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import looking_from_outside

    if not (ingestion_ids or stream or reason or everything):
        raise typer.BadParameter("name dead letters, or give --stream, --reason or --all")
    with looking_from_outside({"data_dir": data_dir}) as container:
        import asyncio

        from flowguard.application.relay import DeadLetterFilter

        ids = frozenset(map(_id, ingestion_ids)) if ingestion_ids else None
        wanted = DeadLetterFilter(_topic(container, stream), reason, ids)
        done = asyncio.run(_relayed(container, wanted, dry_run=dry_run))
    if as_json:
        output.as_json({"replayed": 0 if dry_run else done, "matching": done})
    else:
        letters = f"{done} dead letter{'s' if done != 1 else ''}"
        output.say(f"{letters} would be replayed" if dry_run else f"{letters} replayed: they are on their topic again")


@dlq.command()
def discard(
    ingestion_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As `dlq list` prints them.")],
    *,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Mark dead letters as looked at and given up. They are kept, and no longer listed as open."""
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import looking_from_outside

    ids = [_id(text) for text in ingestion_ids]
    with looking_from_outside({"data_dir": data_dir}) as container:
        done = container.dead_letters().mark(ids, State.DISCARDED, container.clock().now())
    if as_json:
        output.as_json({"discarded": done})
    else:
        output.say(f"{done} of {len(ids)} discarded")


async def _relayed(container: Container, wanted: object, *, dry_run: bool) -> int:
    from flowguard.application.relay import DeadLetterFilter

    assert isinstance(wanted, DeadLetterFilter)  # noqa: S101
    publisher = container.publisher()
    relay: DeadLetterReplay = container.dead_letter_replay(publisher=publisher)
    try:
        return sum(1 for _ in relay.matching(wanted)) if dry_run else await relay.run(wanted)
    finally:
        await publisher.close()


def _topic(container: Container, stream: str | None) -> str | None:
    from flowguard.application.observe import named

    return None if stream is None else named(container.catalog(), stream).topic


def _id(text: str) -> IngestionId:
    from flowguard.domain.ingestion import IngestionId

    try:
        return IngestionId.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


# -- what is printed -------------------------------------------------------------------------------------------------


def _print_plan(plan: ReplayPlan, first: int, last: int | None) -> None:
    from flowguard.entrypoints.cli import output

    if first < plan.earliest:
        output.say(f"{plan.partition}: the log keeps offsets from {plan.earliest} on; what lies before is gone")
    if plan.last < plan.first:
        output.say(
            f"{plan.partition}: nothing to replay; the sink stands at {plan.position}, and what lies from there on is"
            " in flight: the consumer lands it"
        )
        return
    if last is not None and last > plan.last:
        output.say(f"{plan.partition}: offsets from {plan.position} on are in flight; the consumer lands them")
    output.say(
        f"{plan.partition}: {plan.records} records at offsets {plan.first}..{plan.last} to read again;"
        f" {plan.exist} exist, {plan.would_land} would land, {plan.dead_letters} would be dead letters"
    )


def _print_report(plan: ReplayPlan, report: ReplayReport) -> None:
    from flowguard.entrypoints.cli import output

    output.say(f"Merged {report.inserted} {plan.stream} (skipped {report.duplicates} duplicates)")
    if report.filtered:
        output.say(f"Filtered {report.filtered} {plan.stream}")
    if report.dead_lettered:
        output.say(f"Dead-lettered {report.dead_lettered} {plan.stream}: see `flowguard dlq list`")


def _plan_json(plan: ReplayPlan) -> dict[str, object]:
    return {**asdict(plan), "topic": plan.partition.topic, "partition": plan.partition.partition}


def _summary(stored: StoredDeadLetter) -> dict[str, object]:
    letter = stored.letter
    return {
        "ingestion_id": str(letter.ingestion_id),
        "topic": letter.ingestion_id.topic,
        "reason": letter.reason,
        "error": letter.error,
        "event_id": letter.event_id,
        "state": stored.state,
        "attempts": stored.attempts,
        "first_seen": stored.first_seen,
        "last_seen": stored.last_seen,
    }


def _details(stored: StoredDeadLetter) -> dict[str, object]:
    letter = stored.letter
    return {
        **_summary(stored),
        "timestamp_ms": letter.timestamp_ms,
        "key": None if letter.key is None else _readable(letter.key),
        "headers": _headers(letter.headers),
        "value": _readable(letter.value),
    }


def _headers(headers: Iterable[tuple[str, bytes]]) -> list[list[str]]:
    return [[name, _readable(value)] for name, value in headers]


def _readable(value: bytes) -> str:
    """As text, with escapes for bytes that are not UTF-8."""
    return value.decode(errors="backslashreplace")
