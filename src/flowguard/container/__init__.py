"""The only room where adapters meet the rest: ports by URL scheme, use cases by name.

No adapter is imported before it is chosen, and nothing connects when the container is made. What it makes is closed
with `closing()`. A factory makes a new adapter at every call, because most may be used by one thread at a time.

    container = Container(settings=Settings())
    with container.closing():
        print(container.observer().status())
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from dependency_injector import containers, providers

from flowguard.application.audit import Auditor
from flowguard.application.catalogs import load_catalog
from flowguard.application.observe import Observer
from flowguard.application.relay import DeadLetterReplay
from flowguard.application.replay import Replayer, ReplayPorts
from flowguard.container import kafka, memory, postgres, snowflake, snowpipe, sqlite, use_cases
from flowguard.container.choosing import closed_by, is_embedded, order_scheme, scheme_in_force, topics_of
from flowguard.domain.catalog import Catalog
from flowguard.settings import Settings

if TYPE_CHECKING:
    from flowguard.adapters.memory import MemoryDeadLetterQueue, MemoryLog, MemoryOrders, MemoryWarehouse
    from flowguard.adapters.postgres.outbox_rows import Transaction
    from flowguard.application.ingest import Ingestion
    from flowguard.application.intake import Defaults
    from flowguard.application.orders import PlaceOrder
    from flowguard.application.outbox_relay import OutboxRelay
    from flowguard.application.publish import Publish
    from flowguard.domain.outbox import OutboxMessage
    from flowguard.ports.backfill import Backfill
    from flowguard.ports.clock import Clock
    from flowguard.ports.dead_letters import DeadLetterQueue
    from flowguard.ports.event_log import EventLog
    from flowguard.ports.ledger import Ledger
    from flowguard.ports.orders import OrderRepository
    from flowguard.ports.outbox import Outbox
    from flowguard.ports.publisher import EventPublisher
    from flowguard.ports.sink import EventSink
    from flowguard.ports.source import EventSource
    from flowguard.ports.telemetry import Telemetry

__all__ = ["Container"]


class Container(containers.DeclarativeContainer):
    """See the module. A test, or a service that brings its own adapter, overrides a provider: `.override(...)`."""

    settings: providers.Provider[Settings] = providers.Dependency(instance_of=Settings)
    closing: providers.Provider[ExitStack] = providers.ThreadSafeSingleton(ExitStack)

    catalog: providers.Provider[Catalog] = providers.ThreadSafeSingleton(load_catalog, settings.provided.catalog)
    clock: providers.Provider[Clock] = providers.ThreadSafeSingleton(use_cases.system_clock)
    telemetry: providers.Provider[Telemetry] = providers.ThreadSafeSingleton(use_cases.log_lines)

    # The hubs of memory:// are the storage itself: one of each in a container.
    memory_log: providers.Provider[MemoryLog] = providers.ThreadSafeSingleton(memory.log, settings)
    memory_warehouse: providers.Provider[MemoryWarehouse] = providers.ThreadSafeSingleton(memory.warehouse)
    memory_dead_letters: providers.Provider[MemoryDeadLetterQueue] = providers.ThreadSafeSingleton(memory.dead_letters)

    memory_orders: providers.Provider[MemoryOrders] = providers.ThreadSafeSingleton(memory.orders)

    _log_url = settings.provided.effective_log_url
    _sink_url = settings.provided.effective_sink_url
    _dead_letter_url = settings.provided.effective_dead_letter_url
    _log_scheme = providers.Callable(scheme_in_force, _log_url, "log_url")
    _sink_scheme = providers.Callable(scheme_in_force, _sink_url, "sink_url")
    _dead_letter_scheme = providers.Callable(scheme_in_force, _dead_letter_url, "dead_letter_url")
    topics: providers.Provider[Mapping[str, int]] = providers.Callable(
        topics_of, catalog, settings.provided.partitions, _log_scheme
    )
    """Name to number of partitions, for `event_log().ensure`."""
    log_is_embedded: providers.Provider[bool] = providers.Callable(is_embedded, _log_scheme)

    publisher: providers.Provider[EventPublisher] = providers.Selector(
        _log_scheme,
        memory=providers.Factory(memory.publisher, memory_log),
        sqlite=providers.Factory(sqlite.publisher, _log_url, settings),
        kafka=providers.Factory(kafka.publisher, _log_url, settings),
    )
    """Closed by its user, in the event loop that used it."""
    event_log: providers.Provider[EventLog] = providers.Factory(
        closed_by,
        closing,
        providers.Selector(
            _log_scheme,
            memory=providers.Factory(memory.event_log, memory_log, settings),
            sqlite=providers.Factory(sqlite.event_log, _log_url),
            kafka=providers.Factory(kafka.event_log, _log_url, settings, catalog),
        ),
    )
    source: providers.Provider[EventSource] = providers.Factory(
        closed_by,
        closing,
        providers.Selector(
            _log_scheme,
            memory=providers.Factory(memory.source, memory_log, settings, topics),
            sqlite=providers.Factory(sqlite.source, _log_url, settings, topics),
            kafka=providers.Factory(kafka.source, _log_url, settings, topics),
        ),
    )
    sink: providers.Provider[EventSink] = providers.Factory(
        closed_by,
        closing,
        providers.Selector(
            _sink_scheme,
            memory=providers.Factory(memory.sink, memory_warehouse),
            sqlite=providers.Factory(sqlite.sink, _sink_url, settings, catalog),
            postgresql=providers.Factory(postgres.sink, _sink_url, settings, catalog),
            snowflake=providers.Factory(snowflake.sink, _sink_url, settings, catalog),
            snowpipe=providers.Factory(snowpipe.sink, _sink_url, catalog),
        ),
    )
    most_writers: providers.Provider[int | None] = providers.Selector(
        _sink_scheme,
        memory=providers.Object(None),
        sqlite=providers.Object(None),
        postgresql=providers.Object(None),
        snowflake=settings.provided.snowflake_writers,
        snowpipe=providers.Object(None),
    )
    """How many consumers may write into the sink; None where nothing speaks against more."""
    ledger: providers.Provider[Ledger] = providers.Selector(
        _sink_scheme,
        memory=providers.Factory(memory.ledger, memory_warehouse),
        sqlite=providers.Factory(sqlite.ledger, closing, _sink_url),
        postgresql=providers.Factory(postgres.ledger, closing, _sink_url, settings),
        snowflake=providers.Factory(snowflake.ledger, closing, _sink_url, settings),
        snowpipe=providers.Factory(snowpipe.Unreadable),
    )
    backfill: providers.Provider[Backfill | None] = providers.Selector(
        _sink_scheme,
        memory=providers.Object(None),
        sqlite=providers.Object(None),
        postgresql=providers.Factory(postgres.backfill, closing, _sink_url, settings),
        snowflake=providers.Factory(snowflake.backfill, closing, _sink_url, settings),
        snowpipe=providers.Object(None),
    )
    """None where each row has had its metadata from the start: FlowGuard alone makes such tables."""
    dead_letters: providers.Provider[DeadLetterQueue] = providers.Factory(
        closed_by,
        closing,
        providers.Selector(
            _dead_letter_scheme,
            memory=memory_dead_letters,
            sqlite=providers.Factory(sqlite.dead_letters, _dead_letter_url),
            postgresql=providers.Factory(postgres.dead_letters, _dead_letter_url, settings),
            snowflake=providers.Factory(snowflake.dead_letters, _dead_letter_url, settings, catalog),
            kafka=providers.Factory(kafka.dead_letters, _dead_letter_url, settings, catalog),
        ),
    )

    _orders_url = settings.provided.orders_url
    _order_scheme = providers.Callable(order_scheme, _orders_url)
    orders: providers.Provider[OrderRepository] = providers.Factory(
        closed_by,
        closing,
        providers.Selector(
            _order_scheme,
            memory=providers.Factory(memory.order_repository, memory_orders, settings),
            postgresql=providers.Factory(postgres.order_repository, _orders_url, settings),
        ),
    )
    outbox: providers.Provider[Outbox] = providers.Factory(
        closed_by,
        closing,
        providers.Selector(
            _order_scheme,
            memory=providers.Factory(memory.outbox, memory_orders),
            postgresql=providers.Factory(postgres.outbox, _orders_url, settings),
        ),
    )

    migrate: providers.Provider[list[str]] = providers.Callable(use_cases.migrate, settings, catalog)
    """Brings up to date what can be: `migrate(dry_run=True)` only says so. One line for each step. See `event_log`.

    `migrate(orders=False)` leaves the database of orders alone.
    """
    missing_dead_letter_topics: providers.Provider[list[str]] = providers.Callable(
        kafka.make_dead_letter_topics, settings, catalog, dry_run=True
    )

    _group = settings.provided.group
    _trusts_group = providers.Callable(use_cases.trusts_group, settings)
    ingestion: providers.Provider[Ingestion] = providers.Factory(
        use_cases.ingestion,
        settings=settings,
        catalog=catalog,
        source=source,
        sink=sink,
        dead_letters=dead_letters,
        clock=clock,
        telemetry=telemetry,
    )
    publish: providers.Provider[Publish] = providers.Factory(
        use_cases.publish,
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
        Auditor,
        catalog=catalog,
        group=_group,
        log=event_log,
        ledger=ledger,
        dead_letters=dead_letters,
        trusts_group=_trusts_group,
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
    defaults: providers.Provider[Defaults] = providers.Factory(use_cases.defaults, settings)
    outbox_writer: providers.Provider[Callable[[Transaction, OutboxMessage], None]] = providers.Callable(
        postgres.outbox_writer
    )
    """Puts a message into the outbox inside of a transaction of SQLAlchemy that is somebody else's."""
    place_order: providers.Provider[PlaceOrder] = providers.Factory(
        use_cases.place_order, settings=settings, catalog=catalog, orders=orders, clock=clock, telemetry=telemetry
    )
    outbox_relay: providers.Provider[OutboxRelay] = providers.Factory(
        use_cases.outbox_relay,
        settings=settings,
        outbox=outbox,
        publisher=publisher,
        clock=clock,
        telemetry=telemetry,
    )
