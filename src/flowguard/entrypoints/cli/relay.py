"""`relay`: what another FlowGuard log holds, or an outbox, into the log of the settings."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Annotated

import typer

from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.entrypoints.cli.lifetime import start_logging, stopped_by_signals
from flowguard.entrypoints.cli.options import DataDir, Json, Verbose

if TYPE_CHECKING:
    from flowguard.application.forward import Forward
    from flowguard.container import Container
    from flowguard.settings import Settings

_log = logging.getLogger("flowguard")

relay = typer.Typer(name="relay", help="What another log holds, or an outbox, into this log.")


@relay.callback(invoke_without_command=True)
def another_log(
    context: typer.Context,
    *,
    url: Annotated[
        str,
        typer.Option("--from", metavar="URL", help="The log to read: sqlite:///folder/log.db, or kafka://host:9092."),
    ] = "",
    topics: Annotated[
        list[str] | None, typer.Option("--topic", help="Only this topic; may be repeated [default: the catalog's].")
    ] = None,
    group: Annotated[str, typer.Option("--group", help="Consumer group at the origin.")] = "flowguard-relay",
    until_empty: Annotated[bool, typer.Option("--until-empty", help="End once nothing is left there.")] = False,
    data_dir: DataDir = None,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Move what another log holds into this one, and go on with what comes. Ctrl-C finishes what is under way."""
    if context.invoked_subcommand is not None:
        return
    if not url:
        raise typer.BadParameter(
            "name the log to read; an outbox is moved by `flowguard relay outbox`", param_hint="--from"
        )
    from flowguard.application.forward import nothing_left
    from flowguard.container import Container
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import container_of, without_secrets

    with container_of({"data_dir": data_dir}) as target:
        settings = target.settings()
        _require_two_logs(url, settings)
        start_logging(verbose=verbose)
        origin = Container(settings=settings.model_copy(update={"log_url": url, "group": group}))
        with origin.closing():
            chosen = _chosen(topics, origin)
            origin.topics.override({topic: origin.topics()[topic] for topic in chosen})
            _require_topics(chosen, target)
            forward = _forward(origin, target)
            left = partial(nothing_left, origin.event_log(), chosen, group)
            stop = threading.Event()
            with stopped_by_signals(stop.set):
                forward.run(stop, finished=left if until_empty else None)
    moved = {topic: forward.forwarded[topic] for topic in chosen}
    if as_json:
        here = without_secrets(settings.effective_log_url)
        output.as_json({"from": without_secrets(url), "to": here, "group": group, "records": moved})
        return
    for topic, count in moved.items():
        output.say(f"Relayed {count} records of {topic}")


def _require_two_logs(url: str, settings: Settings) -> None:
    from flowguard.entrypoints.cli.configuration import sqlite_file
    from flowguard.settings import scheme_of

    here = settings.effective_log_url
    if "memory" in (scheme_of(url), scheme_of(here)):
        raise ConfigurationError("memory:// lives and ends inside one process: relay moves between logs that stay")
    there_file, here_file = sqlite_file(url), sqlite_file(here)
    if there_file is not None and not there_file.is_file():
        raise ConfigurationError(f"--from: there is no file {there_file}")
    same_file = there_file is not None and here_file is not None and there_file.resolve() == here_file.resolve()
    if url == here or same_file:
        raise ConfigurationError(f"--from: {url} is the log of the settings itself; name another one")


def _chosen(topics: Sequence[str] | None, origin: Container) -> list[str]:
    """The topics to move: those asked for, else those of the catalog that are there. Raises ConfigurationError."""
    known = list(origin.topics())
    if strange := sorted(set(topics or ()) - set(known)):
        raise typer.BadParameter(f"{', '.join(strange)}: the catalog has {', '.join(known)}", param_hint="--topic")
    log, group = origin.event_log(), origin.settings().group
    there = [topic for topic in topics or known if log.describe(topic, group) is not None]
    missing = set(topics or ()) - set(there)
    if missing or not there:
        raise ConfigurationError(f"--from: that log has no topic {', '.join(sorted(missing) or known)}")
    return list(dict.fromkeys(there))


def _require_topics(topics: Sequence[str], target: Container) -> None:
    """Make the topics of an embedded log. Raises ConfigurationError where another one lacks them."""
    from flowguard.application.continuity import require_topics

    if target.log_is_embedded():
        target.event_log().ensure(target.topics())
    else:
        require_topics(topics, target.settings().group, target.event_log())


def _forward(origin: Container, target: Container) -> Forward:
    from flowguard.application.forward import Forward, ForwardPorts
    from flowguard.application.ingest_ports import Pace
    from flowguard.application.worker import ThreadWorker

    settings = target.settings()
    return Forward(
        ForwardPorts(
            origin.source(), target.publisher(), target.clock(), target.telemetry(), ThreadWorker("flowguard-relay")
        ),
        retry=settings.retry,
        jitter=Random().random,
        flow=settings.flow,
        pace=Pace(drain_s=settings.drain_s),
    )


@relay.command()
def outbox(
    *,
    once: Annotated[bool, typer.Option("--once", help="End once nothing waits.")] = False,
    data_dir: DataDir = None,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Move the outbox of orders_url into this log, in order. One relay is at work; others stand by for it."""
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import container_of, without_secrets

    with container_of({"data_dir": data_dir}) as container:
        settings = container.settings()
        _require_lasting(settings)
        start_logging(verbose=verbose)
        _require_both(container)
        made = container.outbox_relay()
        stop = threading.Event()
        with stopped_by_signals(stop.set):
            made.run(stop, once=once)
    if as_json:
        there, here = without_secrets(settings.orders_url), without_secrets(settings.effective_log_url)
        output.as_json({"from": there, "to": here, "messages": dict(made.relayed)})
        return
    for topic, count in made.relayed.items():
        output.say(f"Relayed {count} messages to {topic}")


def _require_lasting(settings: Settings) -> None:
    from flowguard.settings import scheme_of

    if not settings.orders_url:
        raise ConfigurationError(
            "orders_url is empty: name the database of the outbox, FLOWGUARD_ORDERS_URL=postgresql://user@host/database"
        )
    if "memory" in (scheme_of(settings.orders_url), scheme_of(settings.effective_log_url)):
        raise ConfigurationError("memory:// lives and ends inside one process: relay moves between what stays")


def _require_both(container: Container) -> None:
    """Raise ConfigurationError where tables or topics are missing; what is away is waited for."""
    try:
        container.orders().check()
    except TransientError as error:
        _log.warning("the outbox is away: %s", error)
    try:
        _require_topics(list(container.topics()), container)
    except TransientError as error:
        _log.warning("the log is away: %s", error)
