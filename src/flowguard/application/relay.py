"""From one log to another, or to the same one again: records keep their key, headers and first ingestion id."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.ingestion import INGESTION_ID_HEADER, Headers, IngestionId, RecordRun, TopicPartition
from flowguard.ports.clock import Clock
from flowguard.ports.dead_letters import DeadLetterQueue, State, StoredDeadLetter
from flowguard.ports.publisher import EventPublisher, NewRecord, Receipt


async def relay(publisher: EventPublisher, runs: Iterable[RecordRun]) -> AsyncIterator[tuple[RecordRun, Receipt]]:
    """Publish each run to its topic, in order, and yield it with its receipt when it is durable there.

    Whoever iterates may then forget the run at its origin. Breaking off in between means that it is relayed again:
    ingestion ids and event ids absorb that. Raises what the publisher raises.
    """
    for run in runs:
        records = [NewRecord(run.key(index), value, run.headers_of(index)) for index, value in enumerate(run.values)]
        yield run, await publisher.publish(run.partition.topic, records)


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters: all that match every condition given."""

    topic: str | None = None
    reason: Reason | None = None
    ids: frozenset[IngestionId] | None = None


class DeadLetterReplay:
    """Puts open dead letters on their topic again, where the consumer takes them up like any other record.

    They carry their first ingestion id, and can land once only. One that still cannot land becomes a dead letter anew,
    at its new offset.
    """

    def __init__(self, queue: DeadLetterQueue, publisher: EventPublisher, clock: Clock, *, page: int = 500) -> None:
        self._queue = queue
        self._publisher = publisher
        self._clock = clock
        self._page = page

    def matching(self, wanted: DeadLetterFilter) -> Iterator[StoredDeadLetter]:
        """The open letters that `run` would replay, in the order of their ingestion ids."""
        for page in self._pages(wanted):
            yield from page

    async def run(self, wanted: DeadLetterFilter) -> int:
        """Replay them; returns how many. Raises what queue and publisher raise; what was done until then stays done."""
        done = 0
        # One that is rejected again while we are at it comes back as an open letter, further on: once is enough.
        seen: set[bytes] = set()
        for page in self._pages(wanted):
            letters = [stored.letter for stored in page if _first_id(stored.letter) not in seen]
            seen.update(map(_first_id, letters))
            for ids, run in _runs(letters):
                async for _ in relay(self._publisher, [run]):
                    done += self._queue.mark(ids, State.REPLAYED, self._clock.now())
        return done

    def _pages(self, wanted: DeadLetterFilter) -> Iterator[Sequence[StoredDeadLetter]]:
        after: IngestionId | None = None
        while page := self._queue.page(
            topic=wanted.topic, reason=wanted.reason, state=State.OPEN, limit=self._page, after=after
        ):
            yield [one for one in page if wanted.ids is None or one.letter.ingestion_id in wanted.ids]
            after = page[-1].letter.ingestion_id


def _first_id(letter: DeadLetter) -> bytes:
    """The ingestion id under which the record was first logged."""
    return dict(letter.headers).get(INGESTION_ID_HEADER) or str(letter.ingestion_id).encode()


def _headers(letter: DeadLetter) -> Headers:
    others = tuple(header for header in letter.headers if header[0] != INGESTION_ID_HEADER)
    return (*others, (INGESTION_ID_HEADER, _first_id(letter)))


def _runs(letters: Iterable[DeadLetter]) -> Iterator[tuple[list[IngestionId], RecordRun]]:
    """The letters, which are in the order of their ids, as one run for each partition and incarnation."""
    for (topic, _, partition), group in groupby(letters, key=lambda letter: letter.ingestion_id[:3]):
        some = list(group)
        run = RecordRun(
            TopicPartition(topic, partition),
            [letter.ingestion_id.offset for letter in some],
            [letter.value for letter in some],
            [letter.timestamp_ms for letter in some],
            [letter.key for letter in some],
            [_headers(letter) for letter in some],
        )
        yield [letter.ingestion_id for letter in some], run
