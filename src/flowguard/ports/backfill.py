"""Backfill: metadata for rows that landed before their table had any."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from flowguard.domain.catalog import EventType


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """One table, counted in rows.

    Of all `rows`, `filled` got metadata now (or would), and of `unknown` nobody knows their place in the log.
    `complete_before` and `complete_after`: as `TableSummary.metadata_complete`. `taken`: which older column stands for
    which column of metadata.
    """

    rows: int
    filled: int
    unknown: int
    complete_before: int
    complete_after: int
    taken: tuple[tuple[str, str], ...] = ()


class Backfill(Protocol):
    """Fills the metadata of old rows as far as it can be known, and marks what cannot be. Sync.

    A row that lacks metadata gets the event type's name and topic, schema version 1, its payload made of its own
    columns, and what an older column holds (`domain.backfill.held_under`). An ingestion id of the form
    topic-partition-offset tells the row's place, and stands for an event id that is missing. Without one, the row gets
    an ingestion id that begins with `unknown_prefix`, and no place. What is text and unknown becomes `UNKNOWN`, and the
    rest stays null. What a row has is never changed.
    """

    @abstractmethod
    def plan(self, event_type: EventType) -> BackfillReport:
        """What `run` would do. Nothing is changed.

        Raises TransientError, ConfigurationError (a table that was not migrated).
        """

    @abstractmethod
    def run(self, event_type: EventType, progress: Callable[[int], None]) -> BackfillReport:
        """Do it, in short transactions, beside whoever writes; `progress` is told the rows filled so far.

        Broken off or done twice, it harms nothing. Raises as `plan`, and TransientError where another one is at it.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the database. Idempotent."""
