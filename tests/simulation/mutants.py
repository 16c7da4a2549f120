"""Deliberately broken parts: the simulation is worth something only as far as it catches them.

These are made up. Bugs that it found are put back in `found.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from flowguard.adapters.memory import MemoryEventSink
from flowguard.application.ingest import Ingestion
from flowguard.application.writing import BatchWriter
from flowguard.domain.batching import Batch
from flowguard.domain.dead_letters import Rejection
from flowguard.domain.decisions import Commit, DeadLetters, Decision, Write
from flowguard.domain.decoding import Decoded
from flowguard.domain.errors import PermanentError, TransientError, UnknownOutcomeError
from flowguard.domain.ingestion import Claim, RecordRun, TopicPartition
from flowguard.domain.ingestor import Ingestor
from flowguard.domain.rows import Move
from tests.simulation.warehouse import SimWarehouse
from tests.simulation.world import Parts


class CommitsEarly(Ingestor):
    """Commits what it is about to write."""

    def _decide(self, now: float) -> list[Decision]:
        decisions = super()._decide(now)
        early = [Commit(one.batch.positions) for one in decisions if isinstance(one, Write)]
        return [*early, *decisions]


class CommitsWithTheDeadLetters(Ingestor):
    """Commits the batch when its bad records are in the queue, before the good ones landed."""

    def dead_lettered(self, batch: Batch, now: float) -> list[Decision]:
        work = self._work
        done = () if work is None else work.batch.positions
        return [Commit(done), *super().dead_lettered(batch, now)]


class ForgetsIncarnation(SimWarehouse):
    """Takes a topic that was made again for the one that it knows."""

    def incarnation(self, topic: str, topic_id: str) -> int:
        super().incarnation(topic, topic_id)
        return 1


class ForgetsIncarnationInIds(BatchWriter):
    """Gives the records of a topic that was made again the ids that it gave before."""

    def _decode(self, batch: Batch, claims: Mapping[TopicPartition, Claim]) -> Decoded:
        decoded = super()._decode(batch, {place: replace(claim, incarnation=1) for place, claim in claims.items()})
        for rows in decoded.rows:
            object.__setattr__(rows, "incarnation", claims[rows.partition].incarnation)
        return decoded


class DeadLettersTransient(Ingestor):
    """Takes a sink that is down for bad records."""

    def failed(self, batch: Batch, error: Exception, now: float) -> list[Decision]:
        blamed = PermanentError(str(error)) if isinstance(error, TransientError) else error
        return super().failed(batch, blamed, now)


class TrustsLostReply(Ingestor):
    """Takes a write whose reply was lost for one that landed."""

    def failed(self, batch: Batch, error: Exception, now: float) -> list[Decision]:
        if isinstance(error, UnknownOutcomeError):
            return super().written(batch, now)
        return super().failed(batch, error, now)


class ForgetsDeadLetters(Ingestor):
    """Leaves bad records out without telling anybody."""

    def rejected(self, batch: Batch, rejections: Iterable[Rejection], now: float) -> list[Decision]:
        asked = super().rejected(batch, rejections, now)
        letters = [one for one in asked if isinstance(one, DeadLetters)]
        return self.dead_lettered(letters[0].batch, now) if letters else asked


class ForgetsToExclude(Ingestor):
    """Dead-letters bad records, and tries to write them again."""

    def dead_lettered(self, batch: Batch, now: float) -> list[Decision]:
        if self._work is not None:
            self._work.rejections = ()
        return super().dead_lettered(batch, now)


class DropsSecondHalf(Ingestor):
    """Cuts a batch in two and loses one half."""

    def failed(self, batch: Batch, error: Exception, now: float) -> list[Decision]:
        decisions = super().failed(batch, error, now)
        if self._work is not None and len(self._work.rest) == 1:
            self._work.rest.clear()
        return decisions


class KeepsWhatItPrepared(Ingestor):
    """Leaves partitions that went in the batch that it has prepared."""

    def _forget(self, gone: Collection[TopicPartition]) -> None:
        self._waiting.drop(gone)


class IgnoresLost(Ingestion):
    """Goes on with partitions that were taken away."""

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        pass


class IgnoresStorm(Ingestor):
    """Files a bad deployment, record by record."""

    def _weigh(self, work: object) -> None:
        pass


class NeverPauses(Ingestor):
    """Reads on, however slow the sink is."""

    def _steer_flow(self, decisions: list[Decision]) -> None:
        pass


class Oversleeps(Ingestor):
    """Forgets that the oldest record waits."""

    @property
    def wake_at(self) -> float | None:
        at = super().wake_at
        return None if at is None or self._work is None else at


class AssumesOffsetPlusOne(Ingestor):
    """Takes a hole in the offsets for records that are still to come."""

    def offer(self, runs: Iterable[RecordRun], now: float) -> list[Decision]:
        fitting = [run for run in runs if self._fed.get(run.partition) in {None, run.first_offset}]
        return super().offer(fitting, now)


class DoesNotFence(MemoryEventSink):
    """Lets a consumer write that lost its partition long ago."""

    def _is_fenced(self, move: Move) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Mutant:
    """A broken part, and the faults that show it soonest. It has to be caught within `within` seeds."""

    parts: Parts
    faults: tuple[str, ...]
    within: int = 100


_LOST_REPLIES = ("write_unknown", "dead_letters_unknown", "write_raises_bug")
_ZOMBIES = ("frozen_with_write", "frozen", "write_lands_late", "expired")

MUTANTS = {
    "commits early": Mutant(Parts(ingestor=CommitsEarly), ()),
    "commits with the dead letters": Mutant(Parts(ingestor=CommitsWithTheDeadLetters), ("dead_letters_unknown",)),
    "forgets the incarnation": Mutant(Parts(warehouse=ForgetsIncarnation), ("topic_made_again",)),
    "forgets the incarnation in ids": Mutant(Parts(writer=ForgetsIncarnationInIds), ("topic_made_again",)),
    "dead-letters a transient error": Mutant(Parts(ingestor=DeadLettersTransient), ("sink_down", "write_unknown")),
    "trusts a lost reply": Mutant(Parts(ingestor=TrustsLostReply), _LOST_REPLIES),
    "forgets dead letters": Mutant(Parts(ingestor=ForgetsDeadLetters), ("dead_letters_down",)),
    "forgets to exclude": Mutant(Parts(ingestor=ForgetsToExclude), ("dead_letters_down",)),
    "drops the second half": Mutant(Parts(ingestor=DropsSecondHalf), ("dead_letters_down",)),
    "keeps what it prepared": Mutant(Parts(ingestor=KeepsWhatItPrepared), ("sink_slow", "expired")),
    "ignores lost": Mutant(Parts(ingestion=IgnoresLost), _ZOMBIES),
    "ignores a storm": Mutant(Parts(ingestor=IgnoresStorm), ()),
    "never pauses": Mutant(Parts(ingestor=NeverPauses), ("sink_slow",)),
    "oversleeps": Mutant(Parts(ingestor=Oversleeps), ()),
    "assumes offset + 1": Mutant(Parts(ingestor=AssumesOffsetPlusOne), ("offsets_skipped",)),
    "does not fence": Mutant(Parts(sink=DoesNotFence), _ZOMBIES),
}
