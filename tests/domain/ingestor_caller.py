"""An adversarial caller of the ingestor.

Every operation takes two numbers and makes of them whatever it needs, so that Hypothesis can shrink a whole sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flowguard.domain.dead_letters import Reason, Rejection
from flowguard.domain.decisions import DeadLetters, Decision, Write
from flowguard.domain.errors import (
    ConfigurationError,
    FencedError,
    PermanentError,
    RowFault,
    TransientError,
    UnknownOutcomeError,
)
from flowguard.domain.ingestion import TopicPartition
from tests.domain.ingestor_model import ONE_AT_A_TIME, PLACES, Model, Place, Term, records_of, run_of


@dataclass
class Caller(Model):
    """Does to the machine what the world could do."""

    def assign(self, a: int, b: int) -> None:
        """Partitions come; some of them may be ours already (they went without a word)."""
        coming = _some(a)
        for place in coming:
            self._goes(place)
        positions = {place: self.sink[place] for place in coming}
        for place, position in positions.items():
            self.terms[place] = Term(position, position or 0, flowing=False)
        self._told(self.machine.assigned(positions, self.now), assigned=coming)

    def offer(self, a: int, b: int) -> None:
        """New records of some partitions, ours or not, with holes between their offsets."""
        runs = []
        for place in _some(a):
            log = self.log[place]
            offsets = []
            at = log[-1] + 1 if log else b % 3
            for number in range(1 + b % 7):
                at += (b >> number) % 4
                offsets.append(at)
                at += 1
            term = self.terms.get(place)
            unread = [offset for offset in log if term is not None and offset >= term.fed]
            log += offsets
            runs.append(run_of(place, unread + offsets))
        self._offered(runs)

    def offer_again(self, a: int, b: int) -> None:
        """Records that were offered before, perhaps with a new one behind them, in one run or in several."""
        place = PLACES[a % 3]
        log = self.log[place]
        if b % 2 or not log:
            log.append((log[-1] if log else 0) + 1 + b % 3)
        back = log[-(1 + b % 9) :]
        term = self.terms.get(place)
        unread = [offset for offset in log if term is not None and offset >= term.fed]
        again = back if len(back) >= len(unread) else unread
        middle = a % (len(again) + 1)
        self._offered([run_of(place, part) for part in (again[:middle], again[middle:], again[middle // 2 :]) if part])

    def tick(self, a: int, b: int) -> None:
        self.now += (a % 10) * 0.05
        self._told(self.machine.tick(self.now))

    def look_ahead(self, a: int, b: int) -> None:
        """What a caller does that prepares the next batch while one is under way."""
        batch = self.machine.ahead()
        if batch is not None:
            held = set(records_of(batch))
            self.must(ONE_AT_A_TIME, self.machine.busy, "looks ahead while nothing is under way")
            self.must(2, held <= self.held.keys(), f"looks ahead at what is not held: {held - self.held.keys()}")
            self.must(8, {place for place, _ in held} <= self.terms.keys(), f"looks ahead at what is gone: {held}")
        self._told([])

    def wake(self, a: int, b: int) -> None:
        """What a caller does that sleeps until `wake_at`: it must then have something to do, once."""
        before = self.machine.wake_at
        if before is None:
            return
        self.now = max(self.now, before)
        told = self.machine.tick(self.now)
        after = self.machine.wake_at
        moved = bool(told) or after is None or after > before
        self.must(7, moved, "woken, it did nothing, and wants to be woken at the same time again")
        self._told(told)

    def succeed(self, a: int, b: int) -> None:
        match self.outstanding:
            case Write() as write:
                self._ended(write)
                self._applied(write)
                for place, offset in self._still_ours(write.batch, every=True):
                    self.terms[place].resolved.add(offset)
                    self.held.pop((place, offset))
                self._told(self.machine.written(write.batch, self.now))
            case DeadLetters() as letters:
                self._ended(letters)
                self.dead.update((r.partition, r.offset) for r in letters.rejections)
                self._leave()
                self._told(self.machine.dead_lettered(letters.batch, self.now))
            case None:
                pass

    def reject(self, a: int, b: int) -> None:
        """The writer found records that can never land."""
        if not isinstance(self.outstanding, Write):
            return
        write = self.outstanding
        some = _pick(records_of(write.batch), a, b)
        if not some:
            return
        self._ended(write)
        self.blamed.update(some)
        self._leave()
        rejections = [Rejection(place, offset, Reason.INVALID, "bad") for place, offset in some]
        self._told(self.machine.rejected(write.batch, rejections, self.now))

    def fail_for_a_while(self, a: int, b: int) -> None:
        """Everything that is no fault of the records. It may have been applied all the same."""
        errors: tuple[Exception, ...] = (
            TransientError("throttled"),
            UnknownOutcomeError("the reply was lost"),
            ConfigurationError("wrong password"),
            ZeroDivisionError("a bug"),
            KeyError("another bug"),
        )
        error = errors[a % len(errors)]
        if isinstance(error, UnknownOutcomeError) and b % 2 and isinstance(self.outstanding, Write):
            self._applied(self.outstanding)
        self._failed(error)

    def fence(self, a: int, b: int) -> None:
        """Somebody else has partitions of the batch; or of others, which would be odd."""
        if self.outstanding is None:
            return
        here = [run.partition for run in self.outstanding.batch.runs]
        gone = [here[b % len(here)], *_some(a)] if here and b % 5 else list(_some(a))
        for place in gone:
            self._goes(place)
        self._failed(FencedError(gone))

    def refuse_named(self, a: int, b: int) -> None:
        """A permanent failure that names records: of the batch, and, oddly, twice, or of none that it has."""
        if self.outstanding is None:
            return
        wanted = records_of(self.outstanding.batch)
        named = [] if b % 4 == 3 else _pick(wanted, a, b)
        if isinstance(self.outstanding, Write):
            self.blamed.update(named or self._alone())
        odd = [(PLACES[a % 3], 10**6), *self.outstanding.batch.excluded] if b % 3 == 0 or not named else []
        rows = [RowFault(place, offset, "too long") for place, offset in (*named, *named[:1], *odd)]
        self._failed(PermanentError("refused", rows))

    def refuse(self, a: int, b: int) -> None:
        """A permanent failure that names nothing."""
        if self.outstanding is None:
            return
        if isinstance(self.outstanding, Write):
            self.blamed.update(self._alone())
        self._failed(PermanentError("refused"))

    def late(self, a: int, b: int) -> None:
        """A fact about a batch that was answered for already."""
        if not self.answered or self.holding:  # what is to be tried again keeps its number
            return
        batch = self.answered[a % len(self.answered)]
        if self.outstanding is not None and self.outstanding.batch.number == batch.number:
            return
        facts: tuple[Callable[[], list[Decision]], ...] = (
            lambda: self.machine.written(batch, self.now),
            lambda: self.machine.dead_lettered(batch, self.now),
            lambda: self.machine.failed(batch, PermanentError("late"), self.now),
            lambda: self.machine.rejected(batch, [], self.now),
        )
        self._told(facts[b % 4]())

    def release(self, a: int, b: int) -> None:
        for place in _some(a):
            if place in self.terms:
                self.terms[place].leaving = True
        self._leave(unless_in_flight=True)
        self._told(self.machine.release(_some(a), self.now))

    def revoke(self, a: int, b: int) -> None:
        for place in _some(a):
            self._goes(place)
        self._told(self.machine.revoked(_some(a), self.now))

    def lose(self, a: int, b: int) -> None:
        for place in _some(a):
            self._goes(place)
        self._told(self.machine.lost(_some(a), self.now))

    def finish(self) -> None:
        """Nothing fails any more: what was taken has to end, written and committed."""
        self.draining = True
        self._told(self.machine.drain(self.now))
        for _ in range(2_000):
            if self.outstanding is not None:
                self.succeed(0, 0)
            elif self.machine.wake_at is not None:
                self.wake(0, 0)
            else:
                break
        if self.stopped:
            return
        self.must(1, self.machine.idle and not self.held, f"never ended: {self.held}")
        for place, term in self.terms.items():
            whole = not term.offered or term.committed == term.offered[-1] + 1
            self.must(1, term.leaving or whole, f"{place} committed {term.committed}: {term.offered}")


def _some(a: int) -> tuple[TopicPartition, ...]:
    """One or more of the partitions."""
    return tuple(place for number, place in enumerate(PLACES) if (a % 7 + 1) >> number & 1)


def _pick(records: list[Place], a: int, b: int) -> list[Place]:
    """One or more of the records, if there are any."""
    some = [one for number, one in enumerate(records) if (a >> number) & 1]
    return some or records[b % len(records) :][:1] if records else []
