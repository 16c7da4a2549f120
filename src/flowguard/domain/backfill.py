"""Metadata of rows that landed before there was any: what can be known of them, and the marks of what cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from flowguard.domain.columns import Kind

UNKNOWN: Final = "unknown"
"""In a column of text whose value nobody knows. What is no text stays null."""

FIRST_VERSION: Final = 1
"""The schema version of rows that bear none: versions count from 1, and were written down later."""


@dataclass(frozen=True, slots=True)
class OldColumn:
    """A column that is not FlowGuard's. `kind` is None where it is none of ours.

    `defaulted`: the database gives it a value when nobody does. `unique`: no value comes twice, by a constraint.
    """

    name: str
    kind: Kind | None
    defaulted: bool = False
    unique: bool = False


_OLD_NAMES: Final[Mapping[str, frozenset[str]]] = {
    "event_id": frozenset({"event_uuid", "message_id"}),
    "producer_service": frozenset({"producer", "service", "service_name"}),
    "occurred_at": frozenset({"clicked_at", "ordered_at", "event_time", "event_timestamp", "created_at"}),
    "ingested_at": frozenset({"inserted_at", "loaded_at", "landed_at", "created_at"}),
}
_SAFE: Final[Mapping[str, Callable[[OldColumn], bool]]] = {
    "event_id": lambda column: column.kind is Kind.TEXT and column.unique,
    "producer_service": lambda column: column.kind is Kind.TEXT,
    # A time that the database gives is that of the row; one that the writer gave is that of the event.
    "occurred_at": lambda column: column.kind is Kind.TIMESTAMP and not column.defaulted,
    "ingested_at": lambda column: column.kind is Kind.TIMESTAMP and column.defaulted,
}


def held_under(name: str, columns: Iterable[OldColumn]) -> OldColumn | None:
    """Of these, the one that surely holds this column of metadata, under an older name.

    None where there is no such column, and where there are several: then nobody can say which one it is.
    """
    names = _OLD_NAMES.get(name, frozenset())
    found = [one for one in columns if one.name.lower() in names and _SAFE[name](one)]
    return found[0] if len(found) == 1 else None


def unknown_prefix(table: str) -> str:
    """`unknown-clicks-`, with a number behind: the ingestion id of a row whose place in the log nobody knows.

    It can be told from every true one: those end in two numbers.
    """
    return f"{UNKNOWN}-{table}-"
