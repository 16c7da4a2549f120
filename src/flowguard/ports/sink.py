"""EventSink: where rows land."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from flowguard.domain.ingestion import Assignment, Claim
from flowguard.domain.rows import SinkBatch, WriteReport


class EventSink(Protocol):
    """Writes batches, exactly once, and owns the truth about positions. Sync; used from one thread at a time.

    Its promise: an ingestion id has at most one row, and within one event type a pair of producer service and event id
    has at most one row, whatever is written again by whom.
    """

    @abstractmethod
    def claim(self, owner: str, assignments: Sequence[Assignment]) -> Sequence[Claim]:
        """Become the owner of these partitions: the epoch of each is raised, and older owners are fenced from here on.

        A `topic_id` that the sink has not seen for the topic begins a new incarnation (1, 2, ...), whose positions
        start empty. Claims are in the order of the assignments. `owner` is for people to read.
        Raises TransientError, ConfigurationError.
        """

    @abstractmethod
    def write(self, batch: SinkBatch) -> WriteReport:
        """Write the rows, the filtered offsets and the moves in one transaction: all or nothing.

        For each move, in that transaction: another epoch than the claim's in the sink, or a stored position below
        `expected`, fences (the writer is a zombie, or the sink was set back). At `expected`, all its rows are new (fast
        path). Beyond it (a reply was lost), rows below the stored position are merged, skipping those that exist, and
        the position goes to the larger of the two. Rows of partitions without a move (replay) are merged. A row whose
        ingestion id or (producer service, event id) exists is a duplicate: it is skipped, counted, and its source
        position is remembered as a duplicate for the audit, unless that very position is where the row came from.

        Raises FencedError, PermanentError (nothing was written; it names the rows where the sink can), TransientError,
        UnknownOutcomeError (it may have been written: writing the same batch again is right), ConfigurationError.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise TransientError or ConfigurationError, with how to mend it, if a write would fail now."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything, within seconds even when the sink hangs. Idempotent."""
