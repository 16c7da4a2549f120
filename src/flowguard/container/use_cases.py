"""Puts together what takes more than its constructor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowguard.container import kafka, postgres, snowflake, sqlite
from flowguard.domain.catalog import Catalog
from flowguard.domain.errors import ConfigurationError, FlowGuardError
from flowguard.settings import Settings

if TYPE_CHECKING:
    from flowguard.application.ingest import Ingestion
    from flowguard.application.intake import Defaults
    from flowguard.application.orders import PlaceOrder
    from flowguard.application.outbox_relay import OutboxRelay
    from flowguard.application.publish import Publish
    from flowguard.ports.clock import Clock
    from flowguard.ports.dead_letters import DeadLetterQueue
    from flowguard.ports.ledger import Ledger
    from flowguard.ports.orders import OrderRepository
    from flowguard.ports.outbox import Outbox
    from flowguard.ports.publisher import EventPublisher
    from flowguard.ports.sink import EventSink
    from flowguard.ports.source import EventSource
    from flowguard.ports.telemetry import Telemetry

_COMMIT_S = 1.0
"""Between two commits to the log: each is three round trips of the thread that decodes."""


def system_clock() -> Clock:
    from flowguard.adapters.system import SystemClock

    return SystemClock()


def log_lines() -> Telemetry:
    from flowguard.adapters.system import LoggingTelemetry

    return LoggingTelemetry()


def migrate(settings: Settings, catalog: Catalog, *, dry_run: bool = False, orders: bool = True) -> list[str]:
    return [
        *sqlite.migrate_files(settings, catalog, dry_run=dry_run),
        *postgres.migrate_databases(settings, catalog, dry_run=dry_run, orders=orders),
        *snowflake.migrate_schemas(settings, catalog, dry_run=dry_run),
        *kafka.make_dead_letter_topics(settings, catalog, dry_run=dry_run),
    ]


def trusts_group(settings: Settings) -> bool:
    return settings.start == "group"


def ingestion(
    settings: Settings,
    catalog: Catalog,
    source: EventSource,
    sink: EventSink,
    dead_letters: DeadLetterQueue,
    clock: Clock,
    telemetry: Telemetry,
) -> Ingestion:
    import os
    import socket
    from random import Random  # noqa: TID251  # jitter is given in from here

    from flowguard.application.ingest import Ingestion
    from flowguard.application.ingest_ports import IngestPorts, Pace
    from flowguard.application.worker import ThreadWorker
    from flowguard.application.writing import BatchWriter
    from flowguard.domain.decoding import BatchDecoder
    from flowguard.domain.ingestor import Ingestor

    jitter = Random().random
    return Ingestion(
        IngestPorts(source, sink, dead_letters, clock, telemetry, ThreadWorker("flowguard-writer")),
        BatchWriter(BatchDecoder(catalog), sink, clock),
        Ingestor(settings.batch, settings.retry, settings.dead_letters, settings.flow, jitter),
        owner=f"{socket.gethostname()}:{os.getpid()}",
        retry=settings.retry,
        jitter=jitter,
        pace=Pace(commit_s=_COMMIT_S, drain_s=settings.drain_s),
        trusts_group=trusts_group(settings),
    )


def publish(
    settings: Settings,
    catalog: Catalog,
    publisher: EventPublisher,
    ledger: Ledger,
    clock: Clock,
    telemetry: Telemetry,
) -> Publish:
    from flowguard.application.incarnations import Incarnations
    from flowguard.application.publish import Publish
    from flowguard.domain.recent_ids import RecentIds

    try:
        known = ledger.positions()
    except FlowGuardError:
        known = ()  # the gateway starts although the sink is down
    return Publish(
        catalog,
        publisher,
        clock,
        telemetry,
        defaults=defaults(settings),
        recent_ids=RecentIds(settings.recent_ids),
        incarnation_of=Incarnations(known),
        binary=_is_binary(settings),
    )


def place_order(
    settings: Settings, catalog: Catalog, orders: OrderRepository, clock: Clock, telemetry: Telemetry
) -> PlaceOrder:
    from flowguard.application.orders import STREAM, PlaceOrder

    event_type = catalog.named(STREAM)
    if event_type is None:
        raise ConfigurationError(
            f"the catalog has no event type {STREAM}, which tells of an order: add it, or leave orders_url empty"
        )
    return PlaceOrder(event_type, orders, clock, telemetry, defaults=defaults(settings), binary=_is_binary(settings))


def outbox_relay(
    settings: Settings, outbox: Outbox, publisher: EventPublisher, clock: Clock, telemetry: Telemetry
) -> OutboxRelay:
    from random import Random  # noqa: TID251  # jitter is given in from here

    from flowguard.application.outbox_relay import OutboxPace, OutboxPorts, OutboxRelay

    return OutboxRelay(
        OutboxPorts(outbox, publisher, clock, telemetry),
        retry=settings.retry,
        jitter=Random().random,
        pace=OutboxPace(keep_s=settings.outbox_keep_s),
    )


def defaults(settings: Settings) -> Defaults:
    from flowguard.adapters.system.event_ids import Uuid7
    from flowguard.application.intake import Defaults

    return Defaults(Uuid7(), settings.default_source)


def _is_binary(settings: Settings) -> bool:
    return settings.event_mode == "binary"
