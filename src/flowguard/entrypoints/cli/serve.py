"""`up`, `gateway` and `consume`: the processes that stay."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated

import typer

from flowguard import __version__
from flowguard.domain.errors import ConfigurationError, FlowGuardError, TransientError
from flowguard.entrypoints.cli.lifetime import start_logging, stopped_by_signals
from flowguard.entrypoints.cli.options import DataDir, ExitCode, Host, Json, Port, Verbose
from flowguard.entrypoints.tuning import tune_interpreter

if TYPE_CHECKING:
    from flowguard.container import Container
    from flowguard.entrypoints.consumer import Consumer
    from flowguard.entrypoints.gateway import GatewayServer

_log = logging.getLogger("flowguard")


def up(
    *, host: Host = None, port: Port = None, data_dir: DataDir = None, verbose: Verbose = False, as_json: Json = False
) -> None:
    """Start everything in this process: gateway, log, consumer and warehouse. Ctrl-C drains and stops."""
    from flowguard.entrypoints.cli.configuration import container_of

    with container_of({"host": host, "port": port, "data_dir": data_dir}) as container, _only_consumer(container):
        start_logging(verbose=verbose)
        from flowguard.entrypoints.consumer import Consumer

        _migrate(container)
        _prepare_log(container)
        beside = {"consumer": Consumer(container.ingestion), **_relay(container)}
        server = _server(container, beside)
        tune_interpreter()
        _serve(container, server, beside, as_json=as_json)


def gateway(
    *, host: Host = None, port: Port = None, data_dir: DataDir = None, verbose: Verbose = False, as_json: Json = False
) -> None:
    """Start the gateway alone: events go into the log, and a consumer elsewhere lands them."""
    from flowguard.entrypoints.cli.configuration import container_of, refuse_memory

    with container_of({"host": host, "port": port, "data_dir": data_dir}) as container:
        refuse_memory(container.settings(), "no consumer elsewhere could read it")
        start_logging(verbose=verbose)
        _prepare_log(container)
        beside = _relay(container)
        server = _server(container, beside)
        tune_interpreter()
        _serve(container, server, beside, as_json=as_json)


def consume(
    *,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that share the work; one that dies starts again.")
    ] = 1,
    data_dir: DataDir = None,
    verbose: Verbose = False,
) -> None:
    """Start the consumer alone: it lands what is in the log. Exits 5 when too many dead letters stopped it."""
    from flowguard.entrypoints.cli.configuration import container_of, refuse_memory
    from flowguard.entrypoints.supervisor import drain_with_supervisor, worker_number, worker_settings

    number = worker_number()
    with container_of({"data_dir": data_dir}) as container:
        refuse_memory(container.settings(), "no gateway elsewhere could write to it")
        if workers > 1:
            start_logging(verbose=verbose)
            _supervise(workers, container, _flags(data_dir=data_dir, verbose=verbose))
            return
        if number is not None:
            container.settings.override(worker_settings(container.settings(), number))
        with _only_consumer(container):
            start_logging(verbose=verbose, worker=number)
            from flowguard.entrypoints.consumer import Consumer

            _prepare_log(container)
            try:
                container.sink().check()
            except TransientError as error:
                _log.warning("the sink is away: %s; what is in the log waits for it", error)
            consumer = Consumer(container.ingestion)
            tune_interpreter()
            with stopped_by_signals(consumer.stop):
                if number is not None:
                    drain_with_supervisor(consumer.stop)
                consumer.run()


def _supervise(workers: int, container: Container, flags: Sequence[str]) -> None:
    """Run `consume` so many times, each a process of its own. Raises typer.Exit with the code of one that gave up."""
    from flowguard.entrypoints.supervisor import Supervisor

    if container.log_is_embedded():
        raise ConfigurationError(
            "--workers: an embedded log has one consumer a group, which is fast enough for it; several share a Kafka"
            " topic (FLOWGUARD_LOG_URL=kafka://host:9092)"
        )
    most = container.most_writers()
    if most is not None and workers > most:
        raise ConfigurationError(
            f"--workers {workers}: snowflake_writers (FLOWGUARD_SNOWFLAKE_WRITERS) allows {most}. Writers of one"
            " Snowflake schema take turns, and when more than 20 wait, Snowflake refuses the next (000625): use fewer,"
            " with larger batches (FLOWGUARD_BATCH__MAX_RECORDS, FLOWGUARD_BATCH__MAX_AGE_S)"
        )
    settings = container.settings()
    supervisor = Supervisor(
        [sys.executable, "-P", "-m", "flowguard", "consume", *flags],
        workers,
        retry=settings.retry,
        drain_s=settings.drain_s,
        final=frozenset({ExitCode.USAGE, ExitCode.CONFIGURATION, ExitCode.STOPPED}),
        jitter=Random().random,
    )
    stop = threading.Event()
    with stopped_by_signals(stop.set, supervisor.kill):
        code = supervisor.run(stop)
    if code:
        raise typer.Exit(code)


def _flags(*, data_dir: Path | None, verbose: bool) -> list[str]:
    """Those of `consume` that its workers get too."""
    return [*(["--data-dir", str(data_dir)] if data_dir is not None else []), *(["--verbose"] if verbose else [])]


def _migrate(container: Container) -> None:
    """Bring all up to date. Without the database of orders, events are taken all the same."""
    try:
        container.migrate()
    except TransientError as error:
        if not container.settings().orders_url:
            raise
        container.migrate(orders=False)
        _log.warning("the database of orders is away: %s; `flowguard migrate` makes its tables, if they are new", error)


def _prepare_log(container: Container) -> None:
    """Make the topics of an embedded log.

    Raises ConfigurationError where another log has none, or where the log is older than what the sink has read of it.
    """
    from flowguard.application.continuity import another_log, require_no_set_back, require_topics

    log, ledger, topics = container.event_log(), container.ledger(), container.topics()
    try:
        if missing := container.missing_dead_letter_topics():
            raise ConfigurationError(
                f"dead letters have no place: {missing[0]} is missing; `flowguard migrate` makes it"
            )
        if container.log_is_embedded():
            log.ensure(topics)
        else:
            require_topics(topics, container.settings().group, log)
    except TransientError as error:  # it is asked again for every event, and for every read
        _log.warning("the log is away: %s", error)
        return
    try:
        ledger.positions()
    except FlowGuardError as error:  # a gateway serves without a sink, too
        _log.warning("whether the log is the one that the sink has read, cannot be told: %s", error)
        return
    require_no_set_back(container.catalog(), container.settings().group, log, ledger)
    for topic in another_log(container.catalog(), container.settings().group, log, ledger):
        _log.warning(
            "topic %s is another one than the sink has read. What the other log accepted and did not land yet stays"
            " there: `flowguard relay --from URL` brings it over",
            topic,
        )


def _relay(container: Container) -> dict[str, Consumer]:
    """The relay of the outbox, where orders are taken here and the settings want it here, too."""
    from flowguard.entrypoints.consumer import Consumer

    settings = container.settings()
    if not settings.orders_url or not settings.relay_outbox:
        return {}
    return {"outbox": Consumer(container.outbox_relay, "outbox")}


def _server(container: Container, beside: Mapping[str, Consumer]) -> GatewayServer:
    from flowguard.entrypoints.gateway import GatewayServer, create_app
    from flowguard.entrypoints.gateway.health import Check

    settings = container.settings()
    publisher = container.publisher()
    orders = container.place_order() if settings.orders_url else None
    parts: dict[str, Check] = {"sink": container.sink().check}
    if orders is not None:
        parts["orders"] = orders.check
    for name, one in beside.items():
        parts[name] = partial(_check_running, one)
    app = create_app(
        container.catalog(),
        settings,
        container.publish(publisher=publisher),
        container.observer(),
        container.clock(),
        orders=orders,
        parts=parts,
        on_shutdown=publisher.close,
    )
    return GatewayServer(app, settings.host, settings.port, drain_s=settings.drain_s)


def _check_running(one: Consumer) -> None:
    if one.failure is not None:
        raise ConfigurationError(f"stopped: {one.failure}")


def _serve(container: Container, server: GatewayServer, beside: Mapping[str, Consumer], *, as_json: bool) -> None:
    """Serve, with these beside it, until a signal comes; they drain after the last answer."""
    stop = threading.Event()

    def ready() -> None:
        for one in beside.values():
            one.start()
        _banner(container, server, as_json=as_json)

    try:
        with stopped_by_signals(stop.set):
            server.run(stop, ready)
    finally:
        for one in beside.values():
            one.stop()
        for name, one in beside.items():
            if not one.join(container.settings().drain_s + 1):
                _log.warning("the %s did not finish in time; the next start goes on where it stands", name)


@contextmanager
def _only_consumer(container: Container) -> Iterator[None]:
    """Hold the embedded log's lock for consumers of this group. Raises ConfigurationError where another process does.

    Two of them would take the partitions from one another. The system lets go of it however this process ends.
    """
    from flowguard.entrypoints.cli.configuration import sqlite_file

    settings = container.settings()
    log = sqlite_file(settings.effective_log_url)
    if log is None or sys.platform == "win32":
        yield
        return
    import fcntl

    place = log.with_name(f"{log.name}.{settings.group.replace('/', '_')}.lock")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.open("a+", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{place} cannot be written: {error.strerror}; choose another --data-dir") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise ConfigurationError(
                f"{log.parent} is in use by another `flowguard up` or `consume` (process {file.read().strip() or '?'}):"
                " stop it, or choose another --data-dir"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _banner(container: Container, server: GatewayServer, *, as_json: bool) -> None:
    """What a person does next; printed once requests are answered."""
    from flowguard.domain.payload import encode
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import urls_of, without_secrets
    from flowguard.entrypoints.gateway.examples import example_of

    urls = {name: without_secrets(url) for name, url in urls_of(container.settings()).items()}
    data_dir = Path(container.settings().data_dir).absolute()
    if as_json:
        output.as_json({"url": server.url, "data_dir": str(data_dir), "pid": os.getpid(), **urls})
        return
    first, *others = container.catalog()
    also = f"   (also: {', '.join(one.name for one in others)})" if others else ""
    example = encode(example_of(first) or {}).decode()
    address = f"{server.url}/v1/events/{first.name}"
    embedded = all(url.startswith("sqlite:///") for url in urls.values())
    lines = {
        "post events to": f"{address}{also}",
        "try": f"curl {address} -H 'Content-Type: application/json' -d {shlex.quote(example)}",
        "page": f"{server.url}/",
        "docs": f"{server.url}/docs",
        "data": str(data_dir) if embedded else ", ".join(dict.fromkeys(urls.values())),
    }
    output.say(f"FlowGuard {__version__} is up. Ctrl-C finishes what is under way and stops.")
    for name, text in lines.items():
        output.say(f"  {name:15} {text}")
    sys.stdout.flush()
