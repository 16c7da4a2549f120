"""Facts that came at an odd moment, and once led the machine astray."""

from __future__ import annotations

import pytest

from flowguard.domain.batching import BatchPolicy, FlowPolicy
from flowguard.domain.dead_letters import DeadLetterPolicy, Reason, Rejection
from flowguard.domain.decisions import Commit, DeadLetters, Decision, Pause, Resume, Stop, Write
from flowguard.domain.errors import FencedError, PermanentError, RetryPolicy, RowFault, TransientError
from flowguard.domain.ingestion import Position, RecordRun
from flowguard.domain.ingestor import Ingestor
from tests.domain.ingestor_model import NO_STORM, PLACES, records_of, run_of

HERE, THERE, _ = PLACES


def machine(
    max_records: int = 10, *, letters: DeadLetterPolicy = NO_STORM, high_bytes: int = 10**6, jitter: float = 1.0
) -> Ingestor:
    return Ingestor(
        BatchPolicy(max_records, 10**6, 0.0), RetryPolicy(1.0), letters, FlowPolicy(high_bytes, 1), lambda: jitter
    )


def begun(told: list[Decision]) -> Write:
    [write] = [one for one in told if isinstance(one, Write)]
    return write


def asked(told: list[Decision]) -> DeadLetters:
    [letters] = [one for one in told if isinstance(one, DeadLetters)]
    return letters


def test_what_is_offered_from_below_the_sinks_position_is_resolved_already() -> None:
    one = machine()
    one.assigned({HERE: 5}, 0.0)
    write = begun(one.offer([run_of(HERE, [3, 4, 7, 8])], 0.0))
    assert records_of(write.batch) == [(HERE, 7), (HERE, 8)]
    assert write.advances[0].expected == 5


def test_what_is_gone_is_not_read_again() -> None:
    one = machine(high_bytes=150)
    one.assigned({HERE: 0, THERE: 0}, 0.0)
    told = one.offer([run_of(HERE, [0, 1])], 0.0)
    assert Pause((HERE, THERE)) in told
    assert one.lost([HERE], 0.0) == [Resume((THERE,))]


def test_a_dead_letter_queue_that_refuses_is_no_reason_to_blame_what_is_left_of_the_batch() -> None:
    one = machine()
    one.assigned({HERE: 0, THERE: 0}, 0.0)
    write = begun(one.offer([run_of(HERE, [0]), run_of(THERE, [0])], 0.0))
    letters = asked(one.rejected(write.batch, [Rejection(HERE, 0, Reason.INVALID, "bad")], 0.0))
    assert one.lost([HERE], 0.0) == []

    assert one.failed(letters.batch, PermanentError("the queue refuses"), 0.0) == []
    again = begun(one.tick(1.0))
    assert records_of(again.batch) == [(THERE, 0)]


@pytest.mark.parametrize("fault", [RowFault(THERE, 7, "what?"), RowFault(HERE, 99, "what?")])
def test_a_sink_that_names_what_is_not_of_the_batch_has_named_nothing(fault: RowFault) -> None:
    one = machine()
    one.assigned({HERE: 0}, 0.0)
    write = begun(one.offer([run_of(HERE, [0, 1])], 0.0))
    half = begun(one.failed(write.batch, PermanentError("odd", [fault]), 0.0))
    assert records_of(half.batch) == [(HERE, 0)]


def test_a_record_that_the_sink_names_twice_counts_once() -> None:
    one = machine(letters=DeadLetterPolicy(max_consecutive=1, max_ratio=0))
    one.assigned({HERE: 0}, 0.0)
    write = begun(one.offer([run_of(HERE, [0, 1])], 0.0))
    twice = [RowFault(HERE, 1, "too long"), RowFault(HERE, 1, "too wide")]
    letters = asked(one.failed(write.batch, PermanentError("two columns", twice), 0.0))
    assert [(one.offset, one.error) for one in letters.rejections] == [(1, "too wide")]


def test_after_a_stop_nothing_is_asked_for_whatever_comes() -> None:
    one = machine(letters=DeadLetterPolicy(max_consecutive=1, max_ratio=0), high_bytes=150)
    one.assigned({HERE: 0}, 0.0)
    told = one.offer([run_of(HERE, [0, 1])], 0.0)
    assert Pause((HERE,)) in told
    bad = [Rejection(HERE, offset, Reason.INVALID, "bad") for offset in (0, 1)]
    [stop] = one.rejected(begun(told).batch, bad, 0.0)
    assert isinstance(stop, Stop)
    assert "raw.clicks.v1-0 offset 1: invalid (bad)" in stop.reason
    assert one.assigned({THERE: 0}, 0.0) == []
    assert one.offer([run_of(THERE, [0])], 0.0) == one.drain(0.0) == one.tick(9.0) == one.lost([HERE], 0.0) == []


def test_being_fenced_from_what_is_not_of_the_batch_is_held_like_any_other_failure() -> None:
    one = machine()
    one.assigned({HERE: 0}, 0.0)
    write = begun(one.offer([run_of(HERE, [0])], 0.0))
    assert one.failed(write.batch, FencedError([]), 0.0) == []
    assert one.wake_at == 1.0
    assert one.tick(0.5) == []
    assert records_of(begun(one.tick(1.0)).batch) == [(HERE, 0)]


def test_what_is_left_of_a_fenced_batch_is_written_at_once_less_what_is_leaving() -> None:
    one = machine()
    one.assigned(dict.fromkeys(PLACES, 0), 0.0)
    write = begun(one.offer([run_of(place, [0]) for place in PLACES], 0.0))
    assert one.release([THERE], 0.0) == []
    again = begun(one.failed(write.batch, FencedError([HERE]), 0.0))
    assert records_of(again.batch) == [(PLACES[2], 0)]
    assert one.owned == {THERE, PLACES[2]}


def test_when_what_failed_is_leaving_the_others_do_not_wait_for_it() -> None:
    one = machine(1)
    one.assigned({HERE: 0, THERE: 0}, 0.0)
    write = begun(one.offer([run_of(HERE, [0]), run_of(THERE, [0])], 0.0))
    one.release([HERE], 0.0)
    assert one.failed(write.batch, TransientError("down"), 0.0) == []
    assert one.wake_at == 1.0
    assert records_of(begun(one.tick(1.0)).batch) == [(THERE, 0)]


def test_a_partition_that_comes_again_while_its_old_batch_is_written_starts_anew() -> None:
    one = machine()
    one.assigned({HERE: 0}, 0.0)
    old = begun(one.offer([run_of(HERE, [0, 1])], 0.0))
    one.assigned({HERE: 1}, 0.0)
    assert one.offer([run_of(HERE, [1, 2])], 0.0) == []
    assert one.held_bytes == run_of(HERE, [1, 2]).size_bytes

    told = one.written(old.batch, 0.0)

    assert not any(isinstance(decision, Commit) for decision in told)
    assert begun(told).advances[0].expected == 1
    assert one.written(begun(told).batch, 0.0) == [Commit((Position(HERE, 3),))]


def test_one_record_larger_than_a_batch_goes_alone() -> None:
    one = Ingestor(BatchPolicy(10, 200, 0.0), RetryPolicy(), NO_STORM, FlowPolicy(), lambda: 0.0)
    one.assigned({HERE: 0}, 0.0)
    run = RecordRun(HERE, [0, 1, 2], [b"x" * 500, b"", b""], [0, 0, 0])
    write = begun(one.offer([run], 0.0))
    assert records_of(write.batch) == [(HERE, 0)]
    assert records_of(begun(one.written(write.batch, 0.0)).batch) == [(HERE, 1), (HERE, 2)]
