"""The nine invariants of the design, each for any sequence of facts that an adversarial caller can come up with."""

from __future__ import annotations

from collections.abc import Callable
from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from flowguard.domain.batching import BatchPolicy, FlowPolicy
from flowguard.domain.dead_letters import DeadLetterPolicy, Reason, Rejection
from flowguard.domain.decisions import Commit, DeadLetters, Decision, Pause, Resume, Stop, Write
from flowguard.domain.errors import PermanentError, RetryPolicy, RowFault
from tests.domain.ingestor_caller import Caller
from tests.domain.ingestor_model import ONE_AT_A_TIME, PLACES, Policies, records_of, run_of

Op = tuple[Callable[[Caller, int, int], None], int, int]

NUMBERS = st.integers(0, 255)
READING = (Caller.offer, Caller.offer, Caller.offer_again, Caller.tick, Caller.wake, Caller.look_ahead)
TRANSIENT = (Caller.fail_for_a_while,)
PERMANENT = (Caller.reject, Caller.refuse, Caller.refuse_named)
REBALANCES = (Caller.assign, Caller.release, Caller.revoke, Caller.lose, Caller.fence)
ALL = (*READING, Caller.succeed, Caller.succeed, *TRANSIENT, *PERMANENT, *REBALANCES, Caller.late)

BATCHES = st.builds(
    BatchPolicy, max_records=st.integers(1, 8), max_bytes=st.integers(50, 1_500), max_age_s=st.sampled_from([0.0, 0.5])
)
FLOWS = st.builds(FlowPolicy, high_bytes=st.integers(700, 3_000), low_bytes=st.integers(0, 699))
POLICIES = st.builds(
    Policies,
    batch=BATCHES,
    flow=FLOWS,
    jitter=st.sampled_from([0.0, 0.3, 1.0]),
)


def ops(*wanted: Callable[[Caller, int, int], None]) -> st.SearchStrategy[list[Op]]:
    one = st.tuples(st.sampled_from(wanted), NUMBERS, NUMBERS)
    # A list alone would mostly be short.
    return st.integers(0, 60).flatmap(lambda count: st.lists(one, min_size=count, max_size=count))


def driven(policies: Policies, todo: list[Op]) -> Caller:
    """All partitions come first, and at the end nothing fails any more."""
    caller = Caller(policies)
    caller.assign(6, 0)
    for do, a, b in todo:
        do(caller, a, b)
    caller.finish()
    return caller


def broken(caller: Caller, *invariants: int) -> list[str]:
    return [text for number, text in caller.violations if number in invariants]


class AdversarialCaller(RuleBasedStateMachine):
    """Anything, in any order; every invariant at once."""

    @initialize(policies=POLICIES, storm=st.sampled_from([(0, 0.0), (3, 0.0), (0, 0.5)]))
    def begin(self, policies: Policies, storm: tuple[int, float]) -> None:
        consecutive, ratio = storm
        letters = DeadLetterPolicy(max_consecutive=consecutive, max_ratio=ratio, window=6)
        self.caller = Caller(Policies(policies.batch, policies.retry, letters, policies.flow, policies.jitter))
        self.caller.assign(6, 0)

    @rule(do=st.sampled_from(ALL), a=NUMBERS, b=NUMBERS)
    def anything(self, do: Callable[[Caller, int, int], None], a: int, b: int) -> None:
        do(self.caller, a, b)
        assert self.caller.violations == []

    def teardown(self) -> None:
        if hasattr(self, "caller"):
            self.caller.finish()
            assert self.caller.violations == []


TestAdversarialCaller = AdversarialCaller.TestCase
TestAdversarialCaller.settings = settings(stateful_step_count=60)


@given(POLICIES, ops(*ALL))
def test_1_a_commit_covers_resolved_offsets_only_and_in_the_end_all_of_them(policies: Policies, todo: list[Op]) -> None:
    caller = driven(policies, todo)
    assert broken(caller, 1) == []


@given(POLICIES, ops(*READING, Caller.succeed, *TRANSIENT, *REBALANCES))
def test_2_nothing_is_written_again_but_after_a_failure_and_positions_only_rise(
    policies: Policies, todo: list[Op]
) -> None:
    caller = driven(policies, todo)
    assert broken(caller, 2) == []


@given(POLICIES, ops(*READING, Caller.succeed, *TRANSIENT, *TRANSIENT, *REBALANCES))
def test_3_a_transient_failure_never_makes_a_dead_letter(policies: Policies, todo: list[Op]) -> None:
    caller = driven(policies, todo)
    assert not [decision for decision in caller.decisions if isinstance(decision, DeadLetters | Stop)]
    assert broken(caller, 3) == []


@given(POLICIES, ops(*READING, Caller.succeed, *TRANSIENT, *PERMANENT, *REBALANCES))
def test_3_only_records_that_were_blamed_become_dead_letters(policies: Policies, todo: list[Op]) -> None:
    caller = driven(policies, todo)
    assert broken(caller, 3, 4) == []


def land(sizes: int, bad: set[int], *, named: bool) -> tuple[Caller, int, set[int], set[int]]:
    """One batch of records, and a sink that refuses the bad ones: (caller, writes, written, dead letters)."""
    policies = Policies(BatchPolicy(sizes, 10**9, 0.0), flow=FlowPolicy(10**9, 1))
    caller = Caller(policies)
    caller.assign(0, 0)
    [decision] = caller.machine.offer([run_of(PLACES[0], list(range(sizes)))], caller.now)
    todo: list[Decision] = [decision]
    writes, written, dead = 0, set[int](), set[int]()
    while todo:
        match todo.pop(0):
            case Write(batch):
                writes += 1
                offsets = {offset for _, offset in records_of(batch)}
                if faults := sorted(offsets & bad):
                    rows = [RowFault(PLACES[0], offset, "too long") for offset in faults] if named else []
                    todo += caller.machine.failed(batch, PermanentError("refused", rows), caller.now)
                else:
                    assert not written & offsets
                    written |= offsets
                    todo += caller.machine.written(batch, caller.now)
            case DeadLetters(batch, rejections):
                assert all(one.reason is Reason.REJECTED_BY_SINK for one in rejections)
                dead |= {one.offset for one in rejections}
                todo += caller.machine.dead_lettered(batch, caller.now)
            case Commit(positions):
                [(_, reached)] = positions
                assert written | dead == set(range(reached))
            case other:
                pytest.fail(f"unexpected: {other}")
    assert caller.machine.idle
    return caller, writes, written, dead


@given(st.integers(1, 600), st.data())
def test_4_unnamed_poison_is_bisected_and_costs_itself_only(records: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, records - 1), max_size=8))
    _, writes, written, dead = land(records, bad, named=False)

    assert dead == bad
    assert written == set(range(records)) - bad
    # Each bad record is cut out of a batch along one path, whose every step costs it and its neighbour one write; then
    # it is written once more, without records, to move the position.
    assert writes <= 1 + len(bad) * (2 * log2(records) + 3)


@given(st.integers(1, 600), st.data())
def test_4_named_poison_costs_exactly_one_more_write(records: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, records - 1), min_size=1))
    _, writes, written, dead = land(records, bad, named=True)

    assert dead == bad
    assert written == set(range(records)) - bad
    assert writes == 2


@given(
    st.integers(1, 5),
    st.lists(st.sampled_from([Caller.succeed, Caller.reject, Caller.refuse]), max_size=30),
    ops(*ALL),
)
def test_5_a_storm_stops_the_line_and_nothing_follows(
    allowed: int, before: list[Callable[[Caller, int, int], None]], after: list[Op]
) -> None:
    caller = Caller(Policies(BatchPolicy(1, 10**6, 0.0), dead_letters=DeadLetterPolicy(allowed, 0)))
    caller.assign(0, 0)
    in_a_row = 0
    for do in before:
        while caller.outstanding is None or isinstance(caller.outstanding, DeadLetters) or not wanted(caller):
            if caller.outstanding is None:
                caller.offer(0, 0)
            else:
                caller.succeed(0, 0)
        do(caller, 1, 1)
        in_a_row = 0 if do is Caller.succeed else in_a_row + 1
        if in_a_row > allowed:
            break
        assert not caller.stopped

    letters = sum(len(one.rejections) for one in caller.decisions if isinstance(one, DeadLetters))
    assert caller.stopped == (in_a_row > allowed)
    if caller.stopped:
        assert isinstance(caller.decisions[-1], Stop)
        assert letters == sum(do is not Caller.succeed for do in before[: before_stop(before, allowed)])
        assert caller.machine.stopped is not None
        assert f"{allowed + 1} records in a row" in caller.machine.stopped
        seen = len(caller.decisions)
        for do, a, b in after:
            do(caller, a, b)
        assert len(caller.decisions) == seen
    assert broken(caller, 5) == []


def wanted(caller: Caller) -> bool:
    return caller.outstanding is not None and bool(records_of(caller.outstanding.batch))


def before_stop(before: list[Callable[[Caller, int, int], None]], allowed: int) -> int:
    """How many of these were answered with something else than Stop."""
    in_a_row = 0
    for number, do in enumerate(before):
        in_a_row = 0 if do is Caller.succeed else in_a_row + 1
        if in_a_row > allowed:
            return number
    return len(before)


def test_5_a_storm_by_ratio_stops_the_line_without_dead_letters_for_it() -> None:
    caller = Caller(Policies(BatchPolicy(10, 10**6, 0.0), dead_letters=DeadLetterPolicy(0, 0.5, window=10)))
    caller.assign(0, 0)

    def rejecting(first: int, count: int) -> list[type[Decision]]:
        """A batch of ten records, every second of which is bad, until there are so many."""
        told = caller.machine.offer([run_of(PLACES[0], list(range(first, first + 10)))], 0.0)
        [batch] = [one.batch for one in told if isinstance(one, Write)]
        bad = [first + number for number in (0, 2, 4, 6, 8, 9)][:count]
        rejections = [Rejection(PLACES[0], offset, Reason.UNKNOWN_SCHEMA_VERSION, "v9") for offset in bad]
        answers = caller.machine.rejected(batch, rejections, 0.0)
        if not isinstance(answers[0], Stop):
            caller.machine.dead_lettered(batch, 0.0)
            caller.machine.written(batch, 0.0)
        return [type(one) for one in answers]

    assert rejecting(0, 5) == [DeadLetters]
    assert rejecting(10, 6) == [Stop]


@given(POLICIES, ops(*ALL))
def test_6_held_bytes_are_counted_right_and_reading_pauses_and_resumes_with_hysteresis(
    policies: Policies, todo: list[Op]
) -> None:
    caller = driven(policies, todo)
    assert broken(caller, 6) == []


@given(POLICIES, st.lists(st.tuples(st.booleans(), st.integers(1, 7)), max_size=40))
def test_6_who_heeds_pause_holds_no_more_than_the_mark_and_one_offer(
    policies: Policies, steps: list[tuple[bool, int]]
) -> None:
    caller = Caller(policies)
    caller.assign(0, 0)
    for read, count in steps:
        if read and not caller.paused:
            caller.offer(0, count)
        else:
            caller.succeed(0, 0)
        assert caller.machine.held_bytes < policies.flow.high_bytes + 7 * 190
    caller.finish()
    switches = [type(one) for one in caller.decisions if isinstance(one, Pause | Resume)]
    assert switches == [Pause, Resume] * (len(switches) // 2)
    assert broken(caller, 6) == []


@given(POLICIES, ops(*ALL))
def test_7_a_record_waits_no_longer_than_max_age_when_the_sink_is_free(policies: Policies, todo: list[Op]) -> None:
    caller = driven(policies, todo)
    assert broken(caller, 7) == []


@given(st.floats(0, 10), st.floats(0, 1_000), st.integers(1, 3))
def test_7_waking_at_wake_at_writes(max_age_s: float, now: float, runs: int) -> None:
    machine = Policies(BatchPolicy(100, 10**6, max_age_s)).machine()
    machine.assigned({PLACES[0]: None}, now)
    machine.tick(now)
    told = [one for number in range(runs) for one in machine.offer([run_of(PLACES[0], [number])], now + number)]
    wake = machine.wake_at
    if not told:
        assert wake == now + max_age_s
        told = machine.tick(wake)
    assert isinstance(told[0], Write)
    assert told[0].batch.runs[0].first_offset == 0


@given(POLICIES, ops(*READING, Caller.succeed, *TRANSIENT, *PERMANENT, *REBALANCES, *REBALANCES, Caller.late))
def test_8_nothing_of_a_partition_is_begun_or_committed_once_it_went(policies: Policies, todo: list[Op]) -> None:
    caller = driven(policies, todo)
    assert broken(caller, 8) == []


def test_8_a_released_partition_may_end_what_is_with_the_caller_and_commit_it() -> None:
    machine = Policies(BatchPolicy(2, 10**6, 0.0)).machine()
    machine.assigned({PLACES[0]: 0, PLACES[1]: 0}, 0.0)
    [write] = machine.offer([run_of(PLACES[0], [0]), run_of(PLACES[1], [0]), run_of(PLACES[0], [1])], 0.0)
    assert isinstance(write, Write)
    assert machine.release([PLACES[0]], 0.0) == []

    [commit] = machine.written(write.batch, 0.0)

    assert isinstance(commit, Commit)
    assert set(commit.positions) == {(PLACES[0], 1), (PLACES[1], 1)}
    assert machine.idle
    assert machine.offer([run_of(PLACES[0], [2])], 1.0) == []


@pytest.mark.parametrize("way", ["revoked", "lost"])
def test_8_a_write_that_ends_too_late_commits_nothing_of_what_went(way: str) -> None:
    machine = Policies(BatchPolicy(2, 10**6, 0.0)).machine()
    machine.assigned({PLACES[0]: 0, PLACES[1]: 0}, 0.0)
    [write] = machine.offer([run_of(PLACES[0], [0]), run_of(PLACES[1], [0])], 0.0)
    assert isinstance(write, Write)
    assert getattr(machine, way)([PLACES[0]], 0.0) == []

    [commit] = machine.written(write.batch, 0.0)

    assert commit == Commit(((PLACES[1], 1),))  # type: ignore[arg-type]


@given(POLICIES, st.lists(st.integers(1, 10**9), min_size=1, max_size=30), st.integers(0, 10**9))
def test_9_holes_between_offsets_are_stepped_over_and_never_waited_for(
    policies: Policies, steps: list[int], first: int
) -> None:
    offsets = [first]
    for step in steps:
        offsets.append(offsets[-1] + step)
    caller = Caller(policies)
    caller.assign(0, 0)
    caller.log[PLACES[0]] = offsets
    caller.offer(0, 0)
    caller.finish()

    written = [place[1] for one in caller.decisions if isinstance(one, Write) for place in records_of(one.batch)]
    assert written[: len(offsets)] == offsets
    assert caller.violations == []


@given(POLICIES, ops(*ALL))
def test_at_most_one_write_or_dead_letters_is_with_the_caller(policies: Policies, todo: list[Op]) -> None:
    caller = driven(policies, todo)
    assert broken(caller, ONE_AT_A_TIME) == []


@given(POLICIES, ops(*ALL), st.integers(0, 40))
def test_no_policy_of_retrying_waits_longer_than_its_cap(policies: Policies, todo: list[Op], failures: int) -> None:
    caller = driven(Policies(policies.batch, RetryPolicy(0.1, 3.0, 2.0), jitter=1.0), [])
    caller.draining = False
    caller.offer(0, 3)
    for _ in range(failures):
        caller.wake(0, 0)
        caller.fail_for_a_while(0, 0)
        wake = caller.machine.wake_at
        assert wake is None or wake <= caller.now + 2.0
