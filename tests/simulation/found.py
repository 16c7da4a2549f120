"""Bugs that the simulation found, put back into the code: what would have to be caught again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowguard.application.ingest import Ingestion, LineStoppedError
from flowguard.domain.decisions import Decision
from flowguard.domain.errors import FencedError, TransientError
from flowguard.domain.ingestion import Assignment, Claim, Position, TopicPartition
from flowguard.domain.ingestor import Ingestor
from tests.simulation.world import Parts


class SpinsWhileReadingIsHeld(Ingestion):
    """Bug 1: with nothing under way, it did not wait at all where it should have waited."""

    def _collect(self, timeout_s: float) -> None:
        if self._ports.worker.pending:
            super()._collect(timeout_s)


class SpinsAfterAnOldDelay(Ingestion):
    """Bug 2: the delay of a claim or a commit that nobody wanted any more kept the loop awake for ever."""

    def _wait(self) -> float:
        delays = self._attempts._not_before.values()
        return max(0.0, min([super()._wait(), *(at - self._now() for at in delays)]))

    def _fenced(self, error: FencedError) -> None:
        super()._fenced(error)
        self._attempts.failed("claim", error)


class StartsWhereTheGroupCommitted(Ingestion):
    """Bug 3: where the sink had no position (any more), it read on from where the group was."""

    def _claimed(self, wanted: Sequence[Assignment], claims: Sequence[Claim]) -> None:
        source = self._ports.source
        unknown = {claim.partition for claim in claims if claim.next_offset is None}
        resume = source.resume
        source.resume = lambda starts: resume(  # type: ignore[method-assign]
            {place: None if place in unknown else start for place, start in starts.items()}
        )
        try:
            super()._claimed(wanted, claims)
        finally:
            del source.resume


class ReadsBelowThePosition(Ingestor):
    """Bug 4: what came a second time, from below the sink's position, was written as if it were new."""

    def assigned(self, positions: Mapping[TopicPartition, int | None], now: float) -> list[Decision]:
        decisions = super().assigned(positions, now)
        for place in positions:
            self._fed.pop(place, None)
        return decisions


class GoesOnAfterStop(Ingestion):
    """Bug 5: the step in which the line stopped went on to claim, commit and read."""

    def _halt_if_stopped(self) -> None:
        pass

    def step(self) -> None:
        super().step()
        if self._machine.stopped is not None:
            raise LineStoppedError(self._machine.stopped)

    def _commit(self, *, force: bool = False) -> None:
        if not self._uncommitted or not (force or self._attempts.due("commit")):
            return
        positions = tuple(Position(partition, offset) for partition, offset in self._uncommitted.items())
        try:
            self._ports.source.commit(positions)
        except TransientError as error:
            self._attempts.failed("commit", error)
            return
        self._uncommitted.clear()
        self._attempts.succeeded("commit")


class ForgetsToCommitWhatItClaims(Ingestion):
    """Bug 6: after a crash between write and commit, the group was never told, unless new records came."""

    def _claimed(self, wanted: Sequence[Assignment], claims: Sequence[Claim]) -> None:
        super()._claimed(wanted, claims)
        for claim in claims:
            self._uncommitted.pop(claim.partition, None)


class ClaimsAgainWhileItClaims(Ingestion):
    """Bug 7: when what was being claimed went, the next claim was begun behind the one that was under way."""

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        super()._forget(partitions)
        self._claiming = self._claiming or None


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug put back, the rule that it breaks, and the faults that show it soonest: `within` so many seeds."""

    parts: Parts
    rule: str
    faults: tuple[str, ...]
    within: int = 300


_DRAINED = ("write_unknown", "write_raises_bug", "stop_with_write")
_REBALANCED = ("expired", "topic_made_again")

BUGS = {
    "1 waits for nothing": Bug(Parts(ingestion=SpinsWhileReadingIsHeld), "no busy waiting", ("log_down",)),
    "1 waits for nothing while it drains": Bug(Parts(ingestion=SpinsWhileReadingIsHeld), "no busy waiting", _DRAINED),
    "2 kept awake by an old delay": Bug(Parts(ingestion=SpinsAfterAnOldDelay), "no busy waiting", _REBALANCED),
    "3 starts where the group committed": Bug(
        Parts(ingestion=StartsWhereTheGroupCommitted), "1: nothing is lost", ("sink_set_back",)
    ),
    "4 writes below the position as new": Bug(
        Parts(ingestor=ReadsBelowThePosition), "the sink's fast path", ("stale_fetch", "expired")
    ),
    "5 goes on after the stop": Bug(
        Parts(ingestion=GoesOnAfterStop), "5: a storm stops the line", ("log_down", "commit_unknown"), within=3_000
    ),
    "6 leaves the group behind": Bug(Parts(ingestion=ForgetsToCommitWhatItClaims), "liveness", ("crash_after_write",)),
    "7 fences itself": Bug(Parts(ingestion=ClaimsAgainWhileItClaims), "nobody fences himself", _REBALANCED),
}
