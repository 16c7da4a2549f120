"""Makes the adapters of sqlite:///, and brings their files up to date."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from flowguard.container.choosing import closed_by, scheme_in_force
from flowguard.domain.catalog import Catalog
from flowguard.settings import Settings

if TYPE_CHECKING:
    from flowguard.ports.dead_letters import DeadLetterQueue
    from flowguard.ports.event_log import EventLog
    from flowguard.ports.ledger import Ledger
    from flowguard.ports.publisher import EventPublisher
    from flowguard.ports.sink import EventSink
    from flowguard.ports.source import EventSource


def publisher(url: str, settings: Settings) -> EventPublisher:
    from flowguard.adapters.sqlite import SqliteEventPublisher, path_of

    return SqliteEventPublisher(path_of(url), max_bytes=settings.log_max_bytes)


def event_log(url: str) -> EventLog:
    from flowguard.adapters.sqlite import SqliteEventLog, path_of

    return SqliteEventLog(path_of(url))


def source(url: str, settings: Settings, topics: Mapping[str, int]) -> EventSource:
    from flowguard.adapters.sqlite import SqliteEventSource, path_of

    return SqliteEventSource(path_of(url), settings.group, topics, fetch_bytes=settings.fetch_bytes)


def sink(url: str, settings: Settings, catalog: Catalog) -> EventSink:
    from flowguard.adapters.sqlite import SqliteEventSink, path_of

    return SqliteEventSink(path_of(url), catalog, schema_contract=settings.schema_contract)


def ledger(closing: ExitStack, url: str) -> Ledger:
    from flowguard.adapters.sqlite import SqliteLedger, path_of

    return closed_by(closing, SqliteLedger(path_of(url)))  # no port has a close for it


def dead_letters(url: str) -> DeadLetterQueue:
    from flowguard.adapters.sqlite import SqliteDeadLetterQueue, path_of

    return SqliteDeadLetterQueue(path_of(url))


def migrate_files(settings: Settings, catalog: Catalog, *, dry_run: bool = False) -> list[str]:
    """Bring every file up to date, or say what that would do. One line for each step: `file: part number: name`."""
    from flowguard.adapters.sqlite import Part, migrate, path_of

    parts: dict[str, list[Part]] = {}
    for setting, url, part in (
        ("log_url", settings.effective_log_url, Part.LOG),
        ("sink_url", settings.effective_sink_url, Part.WAREHOUSE),
        ("dead_letter_url", settings.effective_dead_letter_url, Part.DEAD_LETTERS),
    ):
        if scheme_in_force(url, setting) == "sqlite":
            parts.setdefault(url, []).append(part)
    return [
        f"{path_of(url)}: {migration}"
        for url, some in parts.items()
        for migration in migrate(path_of(url), some, catalog, dry_run=dry_run)
    ]
