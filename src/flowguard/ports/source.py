"""EventSource: a consumer of the log, as a member of a group."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from flowguard.domain.ingestion import Assignment, Position, RecordRun, TopicPartition


class RebalanceListener(Protocol):
    """Told by `poll`, from inside it, what comes and goes. Its methods never raise."""

    @abstractmethod
    def on_assigned(self, assignments: Sequence[Assignment]) -> None:
        """These partitions are ours from now on. Nothing is read of them before `resume` says from where."""

    @abstractmethod
    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """These partitions go to another member as soon as this returns; it may still write and commit until then."""

    @abstractmethod
    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """These partitions are gone already, or their topic was deleted: nothing of them may be written any more."""

    @abstractmethod
    def on_gap(self, partition: TopicPartition, first: int, last: int) -> None:
        """Offsets `first` to `last`, inclusive, were to be read and the log does not keep them any more (retention).

        Reading goes on past them. Told by the first `poll` after a `resume` at an offset below the earliest, too.
        """


class EventSource(Protocol):
    """Reads topics as a member of a consumer group. Sync, and used from one thread only.

    The partitions of the group's members never overlap, but a member may learn late that it lost one: the sink fences.
    """

    @abstractmethod
    def poll(self, timeout_s: float, listener: RebalanceListener) -> Sequence[RecordRun]:
        """Wait up to `timeout_s` seconds for records of the partitions that are resumed; return what there is, or ().

        Joins the group at the first call. Offsets of a partition rise from call to call, except after `resume` at an
        offset; they need not be contiguous. What one call returns is bounded in bytes by the adapter's setting.
        A topic that was deleted and made again is reported as lost, then assigned with its new topic id.
        Raises TransientError (try again), ConfigurationError (say so and stop; also where the log ends before what was
        read of it: it was truncated, and gives offsets to new records that are taken already).
        """

    @abstractmethod
    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Return nothing more of these until `resume`. Partitions that are not ours are passed over."""

    @abstractmethod
    def resume(self, starts: Mapping[TopicPartition, int | None]) -> None:
        """Read these (again): from the given offset, or where it is None from where reading stood.

        Where nothing was read since the assignment, that is the group's committed offset, else the earliest. An offset
        below the earliest one that is kept starts at the earliest, and the listener is told of the gap. Partitions that
        are not ours are passed over.
        """

    @abstractmethod
    def commit(self, positions: Iterable[Position]) -> None:
        """Store the group's next offsets; returns when stored. Partitions that are not ours are passed over.

        Raises TransientError.
        """

    @abstractmethod
    def close(self) -> None:
        """Leave the group. Idempotent. Nothing is committed by this."""
