"""Makes the adapters of postgresql://, and brings their tables up to date."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from flowguard.container.choosing import closed_by, order_scheme, scheme_in_force
from flowguard.domain.catalog import Catalog
from flowguard.domain.errors import ConfigurationError
from flowguard.settings import Settings

if TYPE_CHECKING:
    from types import ModuleType

    from flowguard.adapters.postgres.outbox_rows import Transaction
    from flowguard.domain.outbox import OutboxMessage
    from flowguard.ports.backfill import Backfill
    from flowguard.ports.dead_letters import DeadLetterQueue
    from flowguard.ports.ledger import Ledger
    from flowguard.ports.orders import OrderRepository
    from flowguard.ports.outbox import Outbox
    from flowguard.ports.sink import EventSink


def adapters() -> ModuleType:
    """Raises ConfigurationError where the extra is not installed."""
    try:
        from flowguard.adapters import postgres
    except ModuleNotFoundError as error:
        if error.name not in {"psycopg", "sqlalchemy"}:
            raise
        raise ConfigurationError(
            "postgresql:// needs the extra `postgres`: pip install 'flowguard[postgres]'"
        ) from error
    return postgres


def sink(url: str, settings: Settings, catalog: Catalog) -> EventSink:
    adapters()
    from flowguard.adapters.postgres import PostgresEventSink

    return PostgresEventSink(
        url, catalog, timeout_s=settings.database_timeout_s, schema_contract=settings.schema_contract
    )


def ledger(closing: ExitStack, url: str, settings: Settings) -> Ledger:
    adapters()
    from flowguard.adapters.postgres import PostgresLedger

    return closed_by(closing, PostgresLedger(url, timeout_s=settings.database_timeout_s))  # no port has a close for it


def backfill(closing: ExitStack, url: str, settings: Settings) -> Backfill:
    adapters()
    from flowguard.adapters.postgres import PostgresBackfill

    return closed_by(closing, PostgresBackfill(url, timeout_s=settings.database_timeout_s))


def dead_letters(url: str, settings: Settings) -> DeadLetterQueue:
    adapters()
    from flowguard.adapters.postgres import PostgresDeadLetterQueue

    return PostgresDeadLetterQueue(url, timeout_s=settings.database_timeout_s)


def order_repository(url: str, settings: Settings) -> OrderRepository:
    adapters()
    from flowguard.adapters.postgres import PostgresOrderRepository

    return PostgresOrderRepository(url, keep_keys_s=settings.idempotency_keep_s, timeout_s=settings.database_timeout_s)


def outbox(url: str, settings: Settings) -> Outbox:
    adapters()
    from flowguard.adapters.postgres import PostgresOutbox

    return PostgresOutbox(url, timeout_s=settings.database_timeout_s)


def outbox_writer() -> Callable[[Transaction, OutboxMessage], None]:
    adapters()
    from flowguard.adapters.postgres.outbox_rows import put

    return put


def migrate_databases(settings: Settings, catalog: Catalog, *, dry_run: bool = False, orders: bool = True) -> list[str]:
    """Bring every database up to date (without `orders`, leave theirs alone), or say what that would do.

    One line for each step, `database: part number: name`; with `dry_run` each is followed by its statements.
    """
    urls: dict[str, list[str]] = {}
    for setting, url, part in (
        ("sink_url", settings.effective_sink_url, "warehouse"),
        ("dead_letter_url", settings.effective_dead_letter_url, "dead_letters"),
    ):
        if scheme_in_force(url, setting) == "postgresql":
            urls.setdefault(url, []).append(part)
    if orders and settings.orders_url and order_scheme(settings.orders_url) == "postgresql":
        urls.setdefault(settings.orders_url, []).append("orders")
    if not urls:
        return []
    adapters()
    from flowguard.adapters.postgres import Part, migrate, named, url_of

    return [
        "\n".join([f"{named(url_of(url))}: {step}", *(one.rstrip(";") + ";" for one in step.statements if dry_run)])
        for url, parts in urls.items()
        for step in migrate(
            url, [Part(part) for part in parts], catalog, dry_run=dry_run, timeout_s=settings.database_timeout_s
        )
    ]
