"""Makes the adapters of snowflake://, and brings their tables up to date."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from flowguard.container.choosing import closed_by, scheme_in_force
from flowguard.domain.catalog import Catalog
from flowguard.domain.errors import ConfigurationError
from flowguard.settings import Settings

if TYPE_CHECKING:
    from types import ModuleType

    from flowguard.ports.backfill import Backfill
    from flowguard.ports.dead_letters import DeadLetterQueue
    from flowguard.ports.ledger import Ledger
    from flowguard.ports.sink import EventSink


def adapters() -> ModuleType:
    """Raises ConfigurationError where the extra is not installed."""
    try:
        from flowguard.adapters import snowflake
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in {"snowflake", "sqlalchemy"}:
            raise
        raise ConfigurationError(
            "snowflake:// needs the extra `snowflake`: pip install 'flowguard[snowflake]'"
        ) from error
    return snowflake


def sink(url: str, settings: Settings, catalog: Catalog) -> EventSink:
    adapters()
    from flowguard.adapters.snowflake import SnowflakeEventSink

    return SnowflakeEventSink(
        url,
        catalog,
        timeout_s=settings.database_timeout_s,
        query_timeout_s=settings.snowflake_query_timeout_s,
        lock_timeout_s=settings.snowflake_lock_timeout_s,
        writers=settings.snowflake_writers,
        schema_contract=settings.schema_contract,
        event_id_days=settings.snowflake_event_id_days,
    )


def ledger(closing: ExitStack, url: str, settings: Settings) -> Ledger:
    adapters()
    from flowguard.adapters.snowflake import SnowflakeLedger

    # What reads whole tables may take longer than what writes batches. No port has a close for it.
    ledger = SnowflakeLedger(
        url, timeout_s=settings.database_timeout_s, query_timeout_s=10 * settings.snowflake_query_timeout_s
    )
    return closed_by(closing, ledger)


def dead_letters(url: str, settings: Settings, catalog: Catalog) -> DeadLetterQueue:
    adapters()
    from flowguard.adapters.snowflake import SnowflakeDeadLetterQueue

    return SnowflakeDeadLetterQueue(
        url,
        catalog,
        timeout_s=settings.database_timeout_s,
        query_timeout_s=settings.snowflake_query_timeout_s,
        lock_timeout_s=settings.snowflake_lock_timeout_s,
    )


def backfill(closing: ExitStack, url: str, settings: Settings) -> Backfill:
    adapters()
    from flowguard.adapters.snowflake import SnowflakeBackfill

    backfill = SnowflakeBackfill(
        url, timeout_s=settings.database_timeout_s, query_timeout_s=10 * settings.snowflake_query_timeout_s
    )
    return closed_by(closing, backfill)


def migrate_schemas(settings: Settings, catalog: Catalog, *, dry_run: bool = False) -> list[str]:
    """Bring every schema up to date, or say what that would do.

    One line for each step, `schema: part number: name`; with `dry_run` each is followed by its statements.
    """
    urls: dict[str, list[str]] = {}
    for setting, url, part in (
        ("sink_url", settings.effective_sink_url, "warehouse"),
        ("dead_letter_url", settings.effective_dead_letter_url, "dead_letters"),
    ):
        if scheme_in_force(url, setting) == "snowflake":
            urls.setdefault(url, []).append(part)
    if not urls:
        return []
    adapters()
    from flowguard.adapters.snowflake import Part, migrate, url_of

    return [
        "\n".join([f"{url_of(url).where}: {step}", *(f"{one};" for one in step.statements if dry_run)])
        for url, parts in urls.items()
        for step in migrate(
            url,
            [Part(part) for part in parts],
            catalog,
            dry_run=dry_run,
            timeout_s=settings.database_timeout_s,
            query_timeout_s=10 * settings.snowflake_query_timeout_s,
        )
    ]
