"""A consumer whose sink, dead-letter queue or log fails for a while: it holds, tries again, and loses nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flowguard.domain.batching import BatchPolicy
from flowguard.domain.errors import (
    ConfigurationError,
    FencedError,
    PermanentError,
    TransientError,
    UnknownOutcomeError,
)
from flowguard.domain.ingestion import Assignment
from flowguard.domain.telemetry import AttemptFailed, PartitionsAssigned, PartitionsGone, Recovered, RowsMerged
from tests.application.ingesting import Gate, Member, Policies, Rig, first_times
from tests.builders import CLICKS, event, place

OUTAGES = [
    TransientError("throttled"),
    ConfigurationError("the password was refused"),
    OSError("no route to host"),
    ZeroDivisionError("a bug"),
]


def failures(member: Member, what: str) -> list[AttemptFailed]:
    return [one for one in member.happenings.of(AttemptFailed) if one.what == what]


@pytest.mark.parametrize("error", OUTAGES, ids=lambda error: type(error).__name__)
def test_a_sink_that_is_down_is_tried_again_until_it_is_back(error: Exception) -> None:
    rig = Rig()
    rig.publish_clicks(0, 24)
    member = rig.member()
    member.sink.before_write = first_times(5, error)
    member.start()
    member.until(lambda: rig.committed() == 25)
    member.stop()

    assert rig.rows() == 25
    assert rig.letters() == []
    assert [one.attempt for one in failures(member, "write")] == [1, 2, 3, 4, 5]
    assert failures(member, "write")[0].error == f"{type(error).__name__}: {error}"
    assert member.happenings.of(Recovered) == [Recovered("write", 5)]


def test_a_write_whose_reply_was_lost_is_written_again_and_lands_once() -> None:
    rig = Rig()
    rig.publish_clicks(0, 24)
    member = rig.member()
    member.sink.after_write = first_times(1, UnknownOutcomeError("the reply was lost"))
    member.start()
    member.until(lambda: rig.committed() == 25)
    member.stop()

    assert rig.landed() == sorted(f"e{number}" for number in range(25))
    assert sum(one.duplicates for one in member.happenings.of(RowsMerged)) > 0
    assert rig.audit().ok


@pytest.mark.parametrize("error", [*OUTAGES, PermanentError("refused")], ids=lambda error: type(error).__name__)
def test_nothing_passes_a_dead_letter_that_is_not_kept_yet(error: Exception) -> None:
    rig = Rig()
    rig.publish([event(CLICKS, "e0"), b"poison", event(CLICKS, "e2")])
    rig.publish_clicks(3, 9)
    committed = []

    def fail() -> None:
        committed.append((rig.committed(), rig.rows()))
        perhaps()

    perhaps = first_times(4, error)
    rig.queue.before_put = fail
    with rig.running() as member:
        member.until(lambda: rig.committed() == 10)

    assert committed == [(None, 0)] * 5
    [letter] = rig.letters()
    assert (letter.ingestion_id.offset, letter.value) == (1, b"poison")
    assert rig.rows() == 9
    assert len(failures(member, "dead letters")) == 4
    assert Recovered("dead letters", 4) in member.happenings.happenings
    assert rig.audit().ok


def test_a_sink_that_cannot_be_claimed_is_asked_again() -> None:
    rig = Rig()
    rig.publish_clicks(0, 4)
    member = rig.member()
    member.sink.before_claim = first_times(3, TransientError("starting"))
    member.start()
    member.until(lambda: rig.rows() == 5)
    member.stop()
    assert len(failures(member, "claim")) == 3


def test_a_log_that_cannot_be_read_is_polled_again() -> None:
    rig = Rig()
    rig.publish_clicks(0, 4)
    member = rig.member()
    member.source.before_poll = first_times(3, TransientError("no broker"))
    member.start()
    member.until(lambda: rig.rows() == 5)
    member.stop()
    assert [one.attempt for one in failures(member, "read")] == [1, 2, 3]


def test_a_commit_that_fails_is_made_good_later() -> None:
    rig = Rig()
    rig.publish_clicks(0, 24)
    member = rig.member()
    member.source.before_commit = first_times(4, TransientError("the coordinator moved"))
    member.start()
    member.until(lambda: rig.committed() == 25)
    member.stop()
    assert len(failures(member, "commit")) == 4


def test_a_log_that_is_not_configured_ends_the_consumer() -> None:
    rig = Rig()
    member = rig.member()
    member.source.before_poll = first_times(1, ConfigurationError("no such cluster"))
    member.start()
    member.join()
    assert isinstance(member.error, ConfigurationError)
    assert member.source.closed


def never(*_: object) -> None:
    raise TransientError("never again")


@pytest.mark.parametrize("partitions", [1, 3])
def test_the_next_consumer_starts_where_the_sink_stands_though_nothing_was_committed(partitions: int) -> None:
    rig = Rig(partitions)
    rig.publish_clicks(0, 29)
    first = rig.member()
    first.source.before_commit = never
    first.start()
    first.until(lambda: rig.rows() == 30)
    first.stop()
    assert rig.committed() is None

    with rig.running() as second:
        second.until(lambda: rig.committed() == 30 // partitions)

    [assigned] = second.happenings.of(PartitionsAssigned)
    assert dict(assigned.starts)[place(CLICKS)] == 30 // partitions
    assert second.source.records == 0
    assert rig.rows() == 30


def claimed_by_another(rig: Rig) -> None:
    """A consumer that the group gave the partition to as well, or that had it before and does not know better."""
    other = rig.member()
    with rig.log.changed:
        topic_id = rig.log.topics[CLICKS.topic].topic_id
    other.sink.claim("other", [Assignment(place(CLICKS), topic_id)])
    other.worker.close()


def test_a_fenced_partition_that_is_still_ours_is_claimed_anew_and_read_from_where_the_sink_stands() -> None:
    rig = Rig()
    rig.publish_clicks(0, 49)
    member = rig.member()
    steal = [lambda: claimed_by_another(rig)]
    member.sink.before_write = lambda batch: steal.pop()() if len(member.sink.written) == 2 and steal else None
    member.start()
    member.until(lambda: rig.committed() == 50)
    member.stop()

    assert rig.landed() == sorted(f"e{number}" for number in range(50))
    assert [one for one in member.happenings.of(AttemptFailed) if "FencedError" in one.error]
    starts = [dict(one.starts).get(place(CLICKS)) for one in member.happenings.of(PartitionsAssigned)]
    assert starts == [0, sum(len(batch) for batch in member.sink.written[:2])]
    assert rig.audit().ok


def test_a_partition_that_is_fenced_before_its_first_row_is_read_from_its_start_again() -> None:
    rig = Rig()
    rig.publish_clicks(0, 49)
    member = rig.member()
    steal = [lambda: claimed_by_another(rig)]
    member.sink.before_write = lambda batch: steal.pop()() if steal else None
    member.start()
    member.until(lambda: rig.committed() == 50)
    member.stop()

    assert rig.rows() == 50
    assert rig.audit().ok


def test_being_fenced_from_nothing_is_no_reason_to_run_hot() -> None:
    rig = Rig()
    rig.publish_clicks(0, 4)
    member = rig.member()
    member.sink.before_write = first_times(3, FencedError([]))
    member.start()
    member.until(lambda: rig.rows() == 5)
    member.stop()
    assert rig.letters() == []


def test_a_partition_that_is_revoked_ends_its_write_and_its_commit_before_another_has_it() -> None:
    rig = Rig(partitions=2)
    rig.publish_clicks(0, 19)
    whole = Policies(batch=BatchPolicy(max_records=20, max_age_s=100.0))
    first, second = rig.member(whole), rig.member(whole)
    gate = Gate()
    first.sink.before_write = gate
    first.start()
    gate.until_reached()
    found: list[int | None] = []
    second.sink.before_claim = lambda: found.append(rig.committed(1))

    second.start()
    second.until(lambda: second.source.polls > 0)
    assert (found, rig.committed(1)) == ([], None)
    gate.open()
    second.until_told(PartitionsAssigned)
    rig.publish_clicks(20, 59)
    second.until(lambda: rig.committed(1) == 30)
    second.stop()  # before the first leaves, whose partition it would take over
    first.stop()

    assert found == [10]
    [assigned] = second.happenings.of(PartitionsAssigned)
    assert dict(assigned.starts)[place(CLICKS, 1)] == 10
    assert place(CLICKS, 0) not in dict(assigned.starts)
    assert first.happenings.of(PartitionsGone)[0].how == "revoked"
    assert rig.landed() == sorted(f"e{number}" for number in range(60))
    assert rig.audit().ok


def test_a_consumer_that_was_given_up_as_dead_writes_nothing_more_of_what_it_lost() -> None:
    rig = Rig()
    rig.publish_clicks(0, 19)
    first = rig.member()
    gate = Gate()
    first.sink.before_write = gate
    first.start()
    gate.until_reached()

    with rig.running() as second:
        second.until_told(PartitionsAssigned)
        first.source.inner.expire()
        second.until(lambda: rig.committed() == 20)
        gate.open()
        first.until(lambda: any(one.how == "fenced" for one in first.happenings.of(PartitionsGone)))
        first.stop()

    assert first.sink.written == []
    assert rig.landed() == sorted(f"e{number}" for number in range(20))
    assert rig.audit().ok


def test_a_topic_that_was_made_again_lands_beside_what_landed_before() -> None:
    rig = Rig()
    rig.publish_clicks(0, 4)
    with rig.running() as member:
        member.until(lambda: rig.committed() == 5)
        rig.log.delete_topic(CLICKS.topic)
        rig.log.ensure({CLICKS.topic: 1})
        rig.publish_clicks(5, 9)
        member.until(lambda: rig.rows() == 10)

    ids = {str(row["ingestion_id"]) for row in rig.ledger.recent(CLICKS, 100)}
    assert ids == {f"raw.clicks.v1{again}-0-{number}" for again in ("", "@2") for number in range(5)}


class Panic(BaseException):
    """As compiled libraries raise it."""


@pytest.mark.parametrize("ends", [SystemExit, Panic])
def test_a_writer_that_dies_ends_the_consumer_and_does_not_leave_it_waiting(ends: Callable[[], BaseException]) -> None:
    rig = Rig()
    rig.publish_clicks(0, 4)

    def die(*_: object) -> None:
        raise ends()

    member = rig.member()
    member.sink.before_write = die
    member.start()
    member.join()
    assert type(member.error) is ends
    assert member.source.closed
