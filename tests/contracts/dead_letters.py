"""What every DeadLetterQueue must do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from flowguard.domain.audit import OffsetRanges
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.ingestion import IngestionId
from flowguard.ports.dead_letters import DeadLetterQueue, State, StoredDeadLetter
from tests.builders import CLICKS, NOW, ORDERS, letter, place
from tests.contracts.storage import DeadLetterStorage

LATER = NOW + timedelta(hours=1)


class DeadLetterContract:
    """Set `adapter`, and give the fixture `storage`, a fresh DeadLetterStorage."""

    adapter: ClassVar[type[DeadLetterQueue]]

    @pytest.fixture
    def storage(self) -> DeadLetterStorage:
        raise NotImplementedError("the subclass makes a fresh storage")

    @pytest.fixture
    def queue(self, storage: DeadLetterStorage) -> Iterator[DeadLetterQueue]:
        queue = storage.dead_letters()
        assert isinstance(queue, self.adapter)
        yield queue
        queue.close()

    # -- putting -----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("reason", Reason)
    def test_a_letter_comes_back_as_it_was_put(self, queue: DeadLetterQueue, reason: Reason) -> None:
        put = letter(2**40, reason=reason, incarnation=3, error="is wrong: é 🍕\n", event_id="é")
        queue.put([put], NOW)
        assert list(queue.page()) == [StoredDeadLetter(put, 1, NOW, NOW, State.OPEN)]

    @pytest.mark.parametrize(
        "bare",
        [
            replace(letter(1), key=None, value=b"", headers=(), event_id=None, error=""),
            replace(letter(1), key=b"", value=bytes(range(256)) * 5_000, headers=(("", b""),)),
        ],
        ids=["nothing", "much"],
    )
    def test_any_bytes_are_kept(self, queue: DeadLetterQueue, bare: DeadLetter) -> None:
        queue.put([bare], NOW)
        assert queue.page()[0].letter == bare

    def test_times_come_back_in_utc(self, queue: DeadLetterQueue) -> None:
        queue.put([letter(1)], datetime.fromisoformat("2026-01-02T05:04:05.678901+02:00"))
        (stored,) = queue.page()
        assert stored.first_seen == stored.last_seen == NOW
        assert stored.first_seen.utcoffset() == stored.last_seen.utcoffset() == timedelta(0)

    def test_putting_nothing_is_fine(self, queue: DeadLetterQueue) -> None:
        queue.put([], NOW)
        assert list(queue.page()) == []

    def test_putting_one_again_raises_its_attempts_only(self, queue: DeadLetterQueue) -> None:
        queue.put([letter(1), letter(2)], NOW)
        again = letter(1, reason=Reason.REJECTED_BY_SINK, error="another", event_id="e")
        queue.put([again], LATER)
        assert list(queue.page()) == [
            StoredDeadLetter(
                replace(letter(1), reason=again.reason, error="another", event_id="e"), 2, NOW, LATER, State.OPEN
            ),
            StoredDeadLetter(letter(2), 1, NOW, NOW, State.OPEN),
        ]

    @pytest.mark.parametrize("state", State)
    def test_putting_one_again_leaves_its_state(self, queue: DeadLetterQueue, state: State) -> None:
        queue.put([letter(1)], NOW)
        queue.mark([letter(1).ingestion_id], state, NOW)
        queue.put([letter(1)], LATER)
        (stored,) = queue.page()
        assert (stored.state, stored.attempts, stored.first_seen, stored.last_seen) == (state, 2, NOW, LATER)

    def test_the_same_letter_twice_in_one_put(self, queue: DeadLetterQueue) -> None:
        queue.put([letter(1, error="first"), letter(1, error="second")], NOW)
        (stored,) = queue.page()
        assert (stored.attempts, stored.letter.error) == (2, "second")

    def test_every_part_of_the_ingestion_id_tells_letters_apart(self, queue: DeadLetterQueue) -> None:
        put = [letter(1), letter(2), letter(1, partition=1), letter(1, incarnation=2), letter(1, topic=ORDERS.topic)]
        queue.put(put, NOW)
        assert len(queue.page()) == 5
        assert {stored.attempts for stored in queue.page()} == {1}

    # -- reading -----------------------------------------------------------------------------------------------------

    def test_pages_are_ordered_by_ingestion_id_as_numbers(self, queue: DeadLetterQueue) -> None:
        put = [
            letter(offset, topic=topic, partition=partition, incarnation=incarnation)
            for topic in (ORDERS.topic, CLICKS.topic)
            for incarnation in (10, 2, 1)
            for partition in (10, 9)
            for offset in (100, 20, 3)
        ]
        queue.put(put, NOW)
        wanted = sorted(one.ingestion_id for one in put)
        assert [one.letter.ingestion_id for one in queue.page()] == wanted
        found: list[IngestionId] = []
        while page := queue.page(limit=7, after=found[-1] if found else None):
            assert len(page) <= 7
            found += [one.letter.ingestion_id for one in page]
        assert found == wanted

    def test_a_page_goes_on_past_an_id_that_is_not_there(self, queue: DeadLetterQueue) -> None:
        queue.put([letter(1), letter(5)], NOW)
        after = IngestionId(CLICKS.topic, 1, 0, 3)
        assert [one.letter.ingestion_id.offset for one in queue.page(after=after)] == [5]

    def test_a_page_has_a_hundred_letters_unless_told_otherwise(self, queue: DeadLetterQueue) -> None:
        queue.put([letter(offset) for offset in range(150)], NOW)
        assert [len(queue.page()), len(queue.page(limit=149)), len(queue.page(limit=1_000))] == [100, 149, 150]

    def test_letters_are_found_by_topic_reason_and_state(self, queue: DeadLetterQueue) -> None:
        queue.put([letter(1), letter(2, reason=Reason.MALFORMED)], NOW)
        queue.put([letter(3, topic=ORDERS.topic), letter(4, topic=ORDERS.topic, reason=Reason.MALFORMED)], NOW)
        queue.mark([IngestionId(ORDERS.topic, 1, 0, 3), IngestionId(CLICKS.topic, 1, 0, 2)], State.REPLAYED, NOW)

        def found(topic: str | None, reason: Reason | None, state: State | None) -> list[int]:
            page = queue.page(topic=topic, reason=reason, state=state, limit=10)
            return [one.letter.ingestion_id.offset for one in page]

        assert found(CLICKS.topic, None, None) == [1, 2]
        assert found(None, Reason.MALFORMED, None) == [2, 4]
        assert found(None, None, State.OPEN) == [1, 4]
        assert found(None, None, State.REPLAYED) == [2, 3]
        assert found(ORDERS.topic, Reason.INVALID, State.REPLAYED) == [3]
        assert found(ORDERS.topic, Reason.INVALID, State.OPEN) == []
        assert found("no.such.topic", None, None) == []
        page = queue.page(reason=Reason.MALFORMED, after=IngestionId(CLICKS.topic, 1, 0, 2))
        assert [one.letter.ingestion_id.offset for one in page] == [4]

    # -- marking -----------------------------------------------------------------------------------------------------

    def test_marking_tells_how_many_there_were(self, queue: DeadLetterQueue) -> None:
        queue.put([letter(offset) for offset in range(4)], NOW)
        ids = [letter(offset).ingestion_id for offset in (1, 2, 99)]
        assert queue.mark(ids, State.DISCARDED, LATER) == 2
        assert queue.mark([], State.DISCARDED, LATER) == 0
        assert queue.mark([letter(98).ingestion_id], State.OPEN, LATER) == 0
        assert [one.state for one in queue.page()] == [State.OPEN, State.DISCARDED, State.DISCARDED, State.OPEN]
        assert queue.mark(ids[:1], State.OPEN, LATER) == 1
        assert queue.page()[1].state is State.OPEN

    def test_marking_many(self, queue: DeadLetterQueue) -> None:
        """More than one statement of any database takes values."""
        letters = [letter(offset) for offset in range(3_000)]
        queue.put(letters, NOW)
        assert queue.mark([one.ingestion_id for one in letters], State.REPLAYED, LATER) == 3_000
        assert len(queue.page(state=State.REPLAYED, limit=5_000)) == 3_000

    # -- for the audit -----------------------------------------------------------------------------------------------

    def test_offsets_of_one_partition_in_any_state(self, queue: DeadLetterQueue) -> None:
        queue.put([letter(offset) for offset in (7, 3, 4)], NOW)
        queue.put([letter(1, partition=1), letter(2, incarnation=2), letter(9, topic=ORDERS.topic)], NOW)
        queue.mark([letter(3).ingestion_id], State.REPLAYED, NOW)
        queue.mark([letter(4).ingestion_id], State.DISCARDED, NOW)
        assert queue.offsets(place(CLICKS), 1) == OffsetRanges([(3, 4), (7, 7)])
        assert queue.offsets(place(CLICKS, 1), 1) == OffsetRanges([(1, 1)])
        assert queue.offsets(place(CLICKS), 2) == OffsetRanges([(2, 2)])
        assert queue.offsets(place(CLICKS, 5), 1) == OffsetRanges()

    # -- life --------------------------------------------------------------------------------------------------------

    def test_letters_outlive_the_queue_that_took_them(self, queue: DeadLetterQueue, storage: DeadLetterStorage) -> None:
        queue.put([letter(1)], NOW.astimezone(UTC))
        queue.close()
        queue.close()
        reopened = storage.dead_letters()
        assert [one.letter for one in reopened.page()] == [letter(1)]
        reopened.close()
