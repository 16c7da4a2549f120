"""The only room where adapters meet the rest: ports by URL scheme, use cases by name.

No adapter is imported before it is chosen, and nothing connects when the container is made. What it makes is closed
with `closing()`. A factory makes a new adapter at every call, because most may be used by one thread at a time.

    container = Container(settings=Settings())
    with container.closing():
        print(container.observer().status())
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol, TypeVar

from dependency_injector import containers, providers

from flowguard.application.audit import Auditor
from flowguard.application.catalogs import load_catalog
from flowguard.application.observe import Observer
from flowguard.application.relay import DeadLetterReplay
from flowguard.application.replay import Replayer, ReplayPorts
from flowguard.domain.catalog import Catalog
from flowguard.domain.errors import ConfigurationError, FlowGuardError
from flowguard.settings import Settings, scheme_of

if TYPE_CHECKING:
    from flowguard.adapters.memory import MemoryDeadLetterQueue, MemoryLog, MemoryWarehouse
    from flowguard.application.ingest import Ingestion
    from flowguard.application.publish import Publish
    from flowguard.ports.clock import Clock
    from flowguard.ports.dead_letters import DeadLetterQueue
    from flowguard.ports.event_log import EventLog
    from flowguard.ports.ledger import Ledger
    from flowguard.ports.publisher import EventPublisher
    from flowguard.ports.sink import EventSink
    from flowguard.ports.source import EventSource
    from flowguard.ports.telemetry import Telemetry

EMBEDDED = ("sqlite", "memory")
_LATER = {"kafka": ("log_url",), "postgresql": ("sink_url", "dead_letter_url"), "snowflake": ("sink_url",)}
"""Schemes of later releases, and the settings that will take them."""


class _Closeable(Protocol):
    def close(self) -> None: ...


_Adapter = TypeVar("_Adapter", bound=_Closeable)


# -- which adapter ---------------------------------------------------------------------------------------------------


def _scheme(url: str, setting: str) -> str:
    """The adapter that the URL of this setting asks for. Raises ConfigurationError where there is none."""
    scheme = scheme_of(url)
    if scheme in EMBEDDED:
        return scheme
    known = "sqlite:///folder/file.db or memory://"
    if setting in _LATER.get(scheme, ()):
        raise ConfigurationError(f"{setting}: {scheme}:// comes with a later release of FlowGuard; use {known}")
    raise ConfigurationError(f"{setting}: nothing here speaks {scheme or url!r}://; use {known}")


def _closed_by(closing: ExitStack, adapter: _Adapter) -> _Adapter:
    closing.callback(adapter.close)
    return adapter


def _topics(catalog: Catalog, partitions: int) -> Mapping[str, int]:
    return {one.topic: partitions for one in catalog}


# -- system ----------------------------------------------------------------------------------------------------------


def _system_clock() -> Clock:
    from flowguard.adapters.system import SystemClock

    return SystemClock()


def _log_lines() -> Telemetry:
    from flowguard.adapters.system import LoggingTelemetry

    return LoggingTelemetry()


# -- memory ----------------------------------------------------------------------------------------------------------


def _memory_log(settings: Settings) -> MemoryLog:
    from flowguard.adapters.memory import MemoryLog

    return MemoryLog(max_bytes=settings.log_max_bytes)


def _memory_warehouse() -> MemoryWarehouse:
    from flowguard.adapters.memory import MemoryWarehouse

    return MemoryWarehouse()


def _memory_dead_letters() -> MemoryDeadLetterQueue:
    from flowguard.adapters.memory import MemoryDeadLetterQueue

    return MemoryDeadLetterQueue()


def _memory_publisher(log: MemoryLog) -> EventPublisher:
    from flowguard.adapters.memory import MemoryEventPublisher

    return MemoryEventPublisher(log)


def _memory_event_log(log: MemoryLog, settings: Settings) -> EventLog:
    from flowguard.adapters.memory import MemoryEventLog

    return MemoryEventLog(log, read_bytes=settings.fetch_bytes)


def _memory_source(log: MemoryLog, settings: Settings, topics: Mapping[str, int]) -> EventSource:
    from flowguard.adapters.memory import MemoryEventSource

    return MemoryEventSource(log, settings.group, topics, fetch_bytes=settings.fetch_bytes)


def _memory_sink(warehouse: MemoryWarehouse) -> EventSink:
    from flowguard.adapters.memory import MemoryEventSink

    return MemoryEventSink(warehouse)


def _memory_ledger(warehouse: MemoryWarehouse) -> Ledger:
    from flowguard.adapters.memory import MemoryLedger

    return MemoryLedger(warehouse)


# -- sqlite ----------------------------------------------------------------------------------------------------------


def _sqlite_publisher(url: str, settings: Settings) -> EventPublisher:
    from flowguard.adapters.sqlite import SqliteEventPublisher, path_of

    return SqliteEventPublisher(path_of(url), max_bytes=settings.log_max_bytes)


def _sqlite_event_log(url: str) -> EventLog:
    from flowguard.adapters.sqlite import SqliteEventLog, path_of

    return SqliteEventLog(path_of(url))


def _sqlite_source(url: str, settings: Settings, topics: Mapping[str, int]) -> EventSource:
    from flowguard.adapters.sqlite import SqliteEventSource, path_of

    return SqliteEventSource(path_of(url), settings.group, topics, fetch_bytes=settings.fetch_bytes)


def _sqlite_sink(url: str, catalog: Catalog) -> EventSink:
    from flowguard.adapters.sqlite import SqliteEventSink, path_of

    return SqliteEventSink(path_of(url), catalog)


def _sqlite_ledger(closing: ExitStack, url: str) -> Ledger:
    from flowguard.adapters.sqlite import SqliteLedger, path_of

    return _closed_by(closing, SqliteLedger(path_of(url)))  # no port has a close for it


def _sqlite_dead_letters(url: str) -> DeadLetterQueue:
    from flowguard.adapters.sqlite import SqliteDeadLetterQueue, path_of

    return SqliteDeadLetterQueue(path_of(url))


def _migrate(settings: Settings, catalog: Catalog, *, dry_run: bool = False) -> list[str]:
    """Bring every file up to date, or say what that would do. One line for each step: `file: part number: name`."""
    from flowguard.adapters.sqlite import Part, migrate, path_of

    parts: dict[str, list[Part]] = {}
    for setting, url, part in (
        ("log_url", settings.effective_log_url, Part.LOG),
        ("sink_url", settings.effective_sink_url, Part.WAREHOUSE),
        ("dead_letter_url", settings.effective_dead_letter_url, Part.DEAD_LETTERS),
    ):
        if _scheme(url, setting) == "sqlite":
            parts.setdefault(url, []).append(part)
    return [
        f"{path_of(url)}: {migration}"
        for url, some in parts.items()
        for migration in migrate(path_of(url), some, catalog, dry_run=dry_run)
    ]


# -- use cases -------------------------------------------------------------------------------------------------------


def _ingestion(
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

    from flowguard.application.ingest import Ingestion, IngestPorts, Pace
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
    )


def _publish(
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
    )


class Container(containers.DeclarativeContainer):
    """See the module. A test, or a service that brings its own adapter, overrides a provider: `.override(...)`."""

    settings: providers.Provider[Settings] = providers.Dependency(instance_of=Settings)
    closing: providers.Provider[ExitStack] = providers.ThreadSafeSingleton(ExitStack)

    catalog: providers.Provider[Catalog] = providers.ThreadSafeSingleton(load_catalog, settings.provided.catalog)
    topics: providers.Provider[Mapping[str, int]] = providers.Callable(_topics, catalog, settings.provided.partitions)
    """Name to number of partitions, for `event_log().ensure`."""
    clock: providers.Provider[Clock] = providers.ThreadSafeSingleton(_system_clock)
    telemetry: providers.Provider[Telemetry] = providers.ThreadSafeSingleton(_log_lines)
    migrate: providers.Provider[list[str]] = providers.Callable(_migrate, settings, catalog)

    # The hubs of memory:// are the storage itself: one of each in a container.
    memory_log: providers.Provider[MemoryLog] = providers.ThreadSafeSingleton(_memory_log, settings)
    memory_warehouse: providers.Provider[MemoryWarehouse] = providers.ThreadSafeSingleton(_memory_warehouse)
    memory_dead_letters: providers.Provider[MemoryDeadLetterQueue] = providers.ThreadSafeSingleton(_memory_dead_letters)

    _log_url = settings.provided.effective_log_url
    _sink_url = settings.provided.effective_sink_url
    _dead_letter_url = settings.provided.effective_dead_letter_url
    _log_scheme = providers.Callable(_scheme, _log_url, "log_url")
    _sink_scheme = providers.Callable(_scheme, _sink_url, "sink_url")
    _dead_letter_scheme = providers.Callable(_scheme, _dead_letter_url, "dead_letter_url")

    publisher: providers.Provider[EventPublisher] = providers.Selector(
        _log_scheme,
        memory=providers.Factory(_memory_publisher, memory_log),
        sqlite=providers.Factory(_sqlite_publisher, _log_url, settings),
    )
    """Closed by its user, in the event loop that used it."""
    event_log: providers.Provider[EventLog] = providers.Factory(
        _closed_by,
        closing,
        providers.Selector(
            _log_scheme,
            memory=providers.Factory(_memory_event_log, memory_log, settings),
            sqlite=providers.Factory(_sqlite_event_log, _log_url),
        ),
    )
    source: providers.Provider[EventSource] = providers.Factory(
        _closed_by,
        closing,
        providers.Selector(
            _log_scheme,
            memory=providers.Factory(_memory_source, memory_log, settings, topics),
            sqlite=providers.Factory(_sqlite_source, _log_url, settings, topics),
        ),
    )
    sink: providers.Provider[EventSink] = providers.Factory(
        _closed_by,
        closing,
        providers.Selector(
            _sink_scheme,
            memory=providers.Factory(_memory_sink, memory_warehouse),
            sqlite=providers.Factory(_sqlite_sink, _sink_url, catalog),
        ),
    )
    ledger: providers.Provider[Ledger] = providers.Selector(
        _sink_scheme,
        memory=providers.Factory(_memory_ledger, memory_warehouse),
        sqlite=providers.Factory(_sqlite_ledger, closing, _sink_url),
    )
    dead_letters: providers.Provider[DeadLetterQueue] = providers.Factory(
        _closed_by,
        closing,
        providers.Selector(
            _dead_letter_scheme,
            memory=memory_dead_letters,
            sqlite=providers.Factory(_sqlite_dead_letters, _dead_letter_url),
        ),
    )

    _group = settings.provided.group
    ingestion: providers.Provider[Ingestion] = providers.Factory(
        _ingestion,
        settings=settings,
        catalog=catalog,
        source=source,
        sink=sink,
        dead_letters=dead_letters,
        clock=clock,
        telemetry=telemetry,
    )
    publish: providers.Provider[Publish] = providers.Factory(
        _publish,
        settings=settings,
        catalog=catalog,
        publisher=publisher,
        ledger=ledger,
        clock=clock,
        telemetry=telemetry,
    )
    """For one event loop. It leaves the publisher to its giver to close: `publish(publisher=mine)`."""
    observer: providers.Provider[Observer] = providers.Factory(
        Observer,
        catalog=catalog,
        group=_group,
        log=event_log,
        ledger=ledger,
        dead_letters=dead_letters,
        clock=clock,
    )
    auditor: providers.Provider[Auditor] = providers.Factory(
        Auditor, catalog=catalog, group=_group, log=event_log, ledger=ledger, dead_letters=dead_letters
    )
    replayer: providers.Provider[Replayer] = providers.Factory(
        Replayer,
        catalog=catalog,
        group=_group,
        ports=providers.Factory(ReplayPorts, event_log, ledger, sink, dead_letters, clock, telemetry),
        max_records=settings.provided.batch.max_records,
    )
    dead_letter_replay: providers.Provider[DeadLetterReplay] = providers.Factory(
        DeadLetterReplay, queue=dead_letters, publisher=publisher, clock=clock
    )
