"""The relay of an outbox: in order, at least once, and nothing passed over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from flowguard.adapters.memory import MemoryEventPublisher, MemoryLog, MemoryOutbox
from flowguard.adapters.system import RecordingTelemetry, SystemClock
from flowguard.application.outbox_relay import OutboxPace, OutboxPorts, OutboxRelay
from flowguard.domain.cloudevents import event_of
from flowguard.domain.errors import (
    BackpressureError,
    ConfigurationError,
    RetryPolicy,
    TransientError,
    UnknownOutcomeError,
)
from flowguard.domain.outbox import OutboxMessage
from flowguard.domain.telemetry import AttemptFailed, LineStopped, MessagesRelayed, OutboxLeadChanged, Recovered
from tests.application.ordering import Counter, order
from tests.application.publishing import Broken
from tests.builders import CLICKS, ORDERS, event

DEADLINE_S = 20.0


class Line:
    """An outbox, a log, and a relay between them."""

    def __init__(self) -> None:
        self.counter = Counter()
        self.log = MemoryLog()
        self.log.ensure({CLICKS.topic: 1, ORDERS.topic: 1})
        self.broken = Broken(MemoryEventPublisher(self.log))
        self.telemetry = RecordingTelemetry()
        self.stop = threading.Event()

    def relay(self, **pace: float) -> OutboxRelay:
        return OutboxRelay(
            OutboxPorts(self.counter.outbox, self.broken, SystemClock(), self.telemetry),
            retry=RetryPolicy(initial_s=0.001, cap_s=0.01),
            jitter=lambda: 1.0,
            pace=OutboxPace(**{"poll_s": 0.01, **pace}),  # type: ignore[arg-type]
        )

    def place(self, *order_ids: str) -> None:
        for one in order_ids:
            self.counter.place.place(order(order_id=one, event_id=f"e-{one}"))

    def put(self, event_id: str, topic: str) -> None:
        self.counter.hub.put(OutboxMessage(event_id, topic, b"k", event(ORDERS, event_id)))

    def once(self) -> None:
        self.counter.outbox.inner = MemoryOutbox(self.counter.hub)  # the one before was closed
        self.broken.inner = MemoryEventPublisher(self.log)
        self.relay().run(self.stop, once=True)

    def run_until(self, condition: Callable[[], bool], **pace: float) -> OutboxRelay:
        """Relay, and stop when the condition holds; it is looked at whenever the relay waits."""
        relay = self.relay(**pace)
        watched = threading.Event()

        def look() -> None:
            if condition():
                watched.set()
                self.stop.set()

        self.counter.outbox.on_wait = look
        deadline = threading.Timer(DEADLINE_S, self.stop.set)
        deadline.start()
        try:
            relay.run(self.stop)
        finally:
            deadline.cancel()
        assert watched.is_set(), "it did not come to that in time"
        return relay

    def logged(self, topic: str = ORDERS.topic) -> list[str]:
        (partition,) = self.log.topic(topic).partitions
        return [
            event_of((), value).id for run in partition.read(0, partition.next_offset, 1 << 30) for value in run.values
        ]


@pytest.fixture
def line() -> Line:
    return Line()


def test_what_waits_goes_to_the_log_in_order_with_its_key_and_is_marked(line: Line) -> None:
    line.place(*"abc")
    line.once()
    assert line.logged() == ["e-a", "e-b", "e-c"]
    (run,) = line.log.topic(ORDERS.topic).partitions[0].read(0, 10, 1 << 20)
    assert [run.key(index) for index in range(3)] == [b"u1"] * 3
    assert line.counter.messages == []
    line.once()
    assert len(line.logged()) == 3
    assert line.telemetry.of(MessagesRelayed)[0].count == 3


def test_it_goes_on_with_what_comes_until_it_is_asked_to_stop(line: Line) -> None:
    later = iter("bcd")

    def all_there() -> bool:
        if (one := next(later, None)) is not None:
            line.place(one)
            return False
        return len(line.logged()) == 4

    line.place("a")
    relay = line.run_until(all_there)
    assert line.logged() == ["e-a", "e-b", "e-c", "e-d"]
    assert relay.relayed == {ORDERS.topic: 4}


def test_many_go_in_several_turns(line: Line) -> None:
    line.place(*map(str, range(25)))
    line.run_until(lambda: not line.counter.messages, batch=10)
    assert line.logged() == [f"e-{number}" for number in range(25)]
    assert [one.count for one in line.telemetry.of(MessagesRelayed)] == [10, 10, 5]


def test_messages_of_several_topics_keep_their_order_within_each(line: Line) -> None:
    for number in range(6):
        line.put(f"{number}", (CLICKS, ORDERS)[number % 2].topic)
    line.once()
    assert (line.logged(CLICKS.topic), line.logged()) == (["0", "2", "4"], ["1", "3", "5"])


@pytest.mark.parametrize("error", [BackpressureError("full"), TransientError("away"), UnknownOutcomeError("lost")])
def test_a_log_that_is_away_is_tried_again_and_nothing_is_marked_before(line: Line, error: Exception) -> None:
    line.broken.errors[ORDERS.topic] = [error] * 5
    line.place("a", "b")
    line.run_until(lambda: not line.counter.messages)
    assert line.logged() == ["e-a", "e-b"]
    assert [one.what for one in line.telemetry.of(AttemptFailed)] == ["outbox"] * 5
    assert line.telemetry.of(Recovered) == [Recovered("outbox", 5)]


def test_an_unknown_outcome_is_published_again_behind_the_first(line: Line) -> None:
    line.broken.applied = True
    line.broken.errors[ORDERS.topic] = [UnknownOutcomeError("lost")]
    line.place("a", "b")
    line.run_until(lambda: not line.counter.messages)
    assert line.logged() == ["e-a", "e-b", "e-a", "e-b"]


@pytest.mark.parametrize("method", ["take", "mark_sent", "wait", "clean_up"])
@pytest.mark.parametrize(
    "error", [TransientError("away"), ConfigurationError("no such table: run `flowguard migrate`")]
)
def test_an_outbox_that_is_away_is_tried_again(line: Line, method: str, error: Exception) -> None:
    line.counter.outbox.errors[method] = [error] * 3
    line.place("a", "b")
    line.run_until(lambda: not line.counter.messages and not line.counter.outbox.errors[method], clean_up_s=0.0)
    assert line.logged() == ["e-a", "e-b"]
    assert len(line.telemetry.of(AttemptFailed)) == 3


def test_a_mark_that_failed_is_made_up_for_without_publishing_again(line: Line) -> None:
    line.counter.outbox.errors["mark_sent"] = [TransientError("away")] * 3
    line.place("a")
    line.run_until(lambda: not line.counter.messages)
    assert line.logged() == ["e-a"]


def test_a_relay_that_stops_marks_what_it_published(line: Line) -> None:
    line.place("a")
    line.put("x", CLICKS.topic)
    line.broken.errors[CLICKS.topic] = [TransientError("away")]
    relay = line.relay()
    relay._attempts.failed = lambda *_: line.stop.set()  # type: ignore[method-assign]
    relay.run(line.stop)
    assert line.logged() == ["e-a"]
    assert [one.event_id for one in line.counter.messages] == ["x"]


@pytest.mark.parametrize("first", [0, 1, 2])
def test_what_the_log_refuses_for_good_stops_the_line_and_is_named(line: Line, first: int) -> None:
    line.place(*"abc"[:first])
    line.put("wrong", "no.such.topic")
    line.place("z")
    for _ in range(2):
        line.counter.outbox.inner = MemoryOutbox(line.counter.hub)
        line.broken.inner = MemoryEventPublisher(line.log)
        with pytest.raises(ConfigurationError, match=r"refuses message .*event wrong, topic no\.such\.topic"):
            line.relay().run(line.stop)
    assert line.logged()[:first] == [f"e-{one}" for one in "abc"[:first]]
    assert "wrong" in [one.event_id for one in line.counter.messages]
    assert len(line.telemetry.of(LineStopped)) == 2
    line.log.ensure({"no.such.topic": 1})
    line.once()
    assert line.counter.messages == []
    assert line.logged("no.such.topic") == ["wrong"]


def test_of_one_topic_those_before_the_refused_one_go_and_those_behind_wait(line: Line) -> None:
    line.place(*"abcd")
    inner = line.broken.publish

    async def publish(topic, records):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        if any(b'"e-c"' in one.value for one in records):
            raise ConfigurationError("a record is larger than the log takes")
        return await inner(topic, records)

    line.broken.publish = publish  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match="event e-c"):
        line.relay().run(line.stop)
    assert line.logged() == ["e-a", "e-b"]
    assert [one.event_id for one in line.counter.messages] == ["e-c", "e-d"]


def test_one_relay_moves_and_the_other_stands_by_and_takes_over(line: Line) -> None:
    other = MemoryOutbox(line.counter.hub)
    assert other.take(1) == []
    line.place("a", "b")

    def taken_over() -> bool:
        if line.telemetry.of(OutboxLeadChanged) == [OutboxLeadChanged(leads=False)]:
            assert line.logged() == []
            other.close()
        return not line.counter.messages

    line.run_until(taken_over)
    assert line.logged() == ["e-a", "e-b"]
    assert [one.leads for one in line.telemetry.of(OutboxLeadChanged)] == [False, True]


def test_once_does_not_wait_for_another_relay_nor_for_what_is_away(line: Line) -> None:
    other = MemoryOutbox(line.counter.hub)
    other.take(1)
    with pytest.raises(TransientError, match="another relay is at work"):
        line.once()
    other.close()
    line.place("a")
    line.counter.outbox.errors["take"] = [TransientError("away")]
    with pytest.raises(TransientError, match="away"):
        line.once()
    line.broken.errors[ORDERS.topic] = [TransientError("the log is away")]
    with pytest.raises(TransientError, match="the log is away"):
        line.once()
    line.once()
    assert line.logged() == ["e-a"]


def test_a_relay_that_is_never_idle_cleans_up_all_the_same(line: Line) -> None:
    line.place("old")
    line.once()
    hub = line.counter.hub
    hub.sent[1] -= timedelta(days=2)
    line.counter.outbox.inner = MemoryOutbox(hub)
    line.broken.inner = MemoryEventPublisher(line.log)
    line.place(*map(str, range(9)))
    clean_up = line.counter.outbox.clean_up

    def cleaning(sent_before: datetime, limit: int) -> int:
        assert len(line.counter.messages) == 8
        line.stop.set()
        return clean_up(sent_before, limit)

    line.counter.outbox.clean_up = cleaning  # type: ignore[method-assign]
    line.relay(batch=1).run(line.stop)
    assert 1 not in hub.messages


def test_what_was_sent_is_cleaned_up_in_time_and_never_what_was_not(line: Line) -> None:
    line.place("old", "new")
    line.once()
    hub = line.counter.hub
    hub.sent[1] -= timedelta(days=2)
    line.put("stuck", "no.such.topic")
    line.broken.errors["no.such.topic"] = [TransientError("away")] * 3
    line.log.ensure({"no.such.topic": 1})
    line.counter.outbox.inner = MemoryOutbox(hub)
    line.broken.inner = MemoryEventPublisher(line.log)
    line.run_until(lambda: 1 not in hub.messages)
    assert list(hub.messages) == [2, 3]
    assert line.logged("no.such.topic") == ["stuck"]
