"""Puts together what takes more than its constructor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowguard.container import kafka, postgres, sqlite
from flowguard.domain.catalog import Catalog
from flowguard.domain.errors import FlowGuardError
from flowguard.settings import Settings

if TYPE_CHECKING:
    from flowguard.application.ingest import Ingestion
    from flowguard.application.publish import Publish
    from flowguard.ports.clock import Clock
    from flowguard.ports.dead_letters import DeadLetterQueue
    from flowguard.ports.ledger import Ledger
    from flowguard.ports.publisher import EventPublisher
    from flowguard.ports.sink import EventSink
    from flowguard.ports.source import EventSource
    from flowguard.ports.telemetry import Telemetry


def system_clock() -> Clock:
    from flowguard.adapters.system import SystemClock

    return SystemClock()


def log_lines() -> Telemetry:
    from flowguard.adapters.system import LoggingTelemetry

    return LoggingTelemetry()


def migrate(settings: Settings, catalog: Catalog, *, dry_run: bool = False) -> list[str]:
    return [
        *sqlite.migrate_files(settings, catalog, dry_run=dry_run),
        *postgres.migrate_databases(settings, catalog, dry_run=dry_run),
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
        pace=Pace(drain_s=settings.drain_s),
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
    from flowguard.adapters.system.event_ids import Uuid7
    from flowguard.application.incarnations import Incarnations
    from flowguard.application.intake import Defaults
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
        defaults=Defaults(Uuid7(), settings.default_source),
        recent_ids=RecentIds(settings.recent_ids),
        incarnation_of=Incarnations(known),
        binary=settings.event_mode == "binary",
    )
