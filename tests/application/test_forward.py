"""Forwarding a log into another one: in order, with keys and headers, committed after the receipt, landing once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowguard.domain.batching import FlowPolicy
from flowguard.domain.errors import (
    BackpressureError,
    ConfigurationError,
    TransientError,
    UnknownOutcomeError,
)
from flowguard.domain.ingestion import INGESTION_ID_HEADER
from flowguard.domain.partitioning import partition_of
from flowguard.domain.telemetry import AttemptFailed, Recovered
from flowguard.ports.publisher import NewRecord
from tests.application.forwarding import TOPIC, Slow, Way, events, held, once, put
from tests.application.ingesting import DEADLINE_S
from tests.application.pipeline import Pipeline
from tests.builders import CLICKS, ORDERS, event
from tests.e2e.pipeline import wait_until


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture(params=["memory", "sqlite"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    made = [Pipeline(request.param, tmp_path / name, partitions=3) for name in ("origin", "target")]
    yield Way(*made)
    for one in made:
        one.close()


# -- what is forwarded -------------------------------------------------------------------------------------------------


def test_records_keep_topic_key_headers_and_order(way: Way) -> None:
    put(way.origin, events(0, 99))
    put(way.origin, [NewRecord(None, b"\xff no event", (("trace", b"\x00"), ("trace", b"2")))], ORDERS.topic)
    assert way.run(way.forward()) == {TOPIC: 100, ORDERS.topic: 1}
    assert held(way.target) == held(way.origin)
    assert sum(map(len, held(way.target).values())) == 100
    (there,), (here,) = held(way.target, ORDERS.topic).values(), held(way.origin, ORDERS.topic).values()
    assert there == here  # without a key, any partition will do


def test_more_than_is_published_at_once_arrives_in_order(way: Way) -> None:
    put(way.origin, events(0, 4_999))
    assert way.run(way.forward()) == {TOPIC: 5_000}
    assert held(way.target) == held(way.origin)


def test_the_next_run_goes_on_where_this_one_stopped(way: Way) -> None:
    put(way.origin, events(0, 9))
    assert way.run(way.forward()) == {TOPIC: 10}
    assert way.run(way.forward()) == {}
    put(way.origin, events(10, 14))
    assert way.run(way.forward()) == {TOPIC: 5}
    assert held(way.target) == held(way.origin)


def test_it_goes_on_until_it_is_asked_to_stop(way: Way) -> None:
    publisher = way.publisher()
    forward = way.forward(publisher)
    thread = threading.Thread(target=forward.run, args=(way.stop,))
    thread.start()
    try:
        put(way.origin, events(0, 9))
        wait_until(way.empty, "the first ones are forwarded")
        put(way.origin, events(10, 19))
        wait_until(way.empty, "the others are forwarded too")
    finally:
        way.stop.set()
        thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert forward.forwarded == {TOPIC: 20}


def test_the_origins_ingestion_ids_stay_there_so_that_they_hide_no_event_of_the_other_log(way: Way) -> None:
    # A dead letter that was put back at the origin names a place there. Here another event comes to stand at it.
    first_id = (INGESTION_ID_HEADER, f"{TOPIC}-{partition_of(b'k', 3)}-1".encode())
    records = [NewRecord(b"k", event(CLICKS, f"e{n}"), (("n", b"1"), first_id) if n == 0 else ()) for n in range(3)]
    put(way.origin, records)
    way.run(way.forward())
    assert [one.headers for some in held(way.target).values() for one in some] == [(("n", b"1"),), (), ()]
    way.target.ingest()
    assert way.target.container.ledger().summary(CLICKS).rows == 3
    assert way.target.container.auditor().run().ok


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [TransientError("away"), BackpressureError("full")])
def test_while_the_other_log_is_away_everything_is_held_in_order(way: Way, error: Exception) -> None:
    put(way.origin, events(0, 2_999))
    publisher = way.publisher()
    publisher.errors[TOPIC] = [error, error, None, error, error, error]
    assert way.run(way.forward(publisher)) == {TOPIC: 3_000}
    assert publisher.errors == {TOPIC: []}
    assert held(way.target) == held(way.origin)
    assert way.telemetry.of(Recovered) == [Recovered("publish", 2), Recovered("publish", 3)]


def test_what_may_have_arrived_is_sent_again_and_lands_once(way: Way) -> None:
    put(way.origin, events(0, 9))
    publisher = way.publisher()
    publisher.errors[TOPIC] = [UnknownOutcomeError("no answer")]
    publisher.applied = True
    assert way.run(way.forward(publisher)) == {TOPIC: 10}
    there = held(way.target)
    assert sum(map(len, there.values())) == 20
    assert {number: once(some) for number, some in there.items()} == held(way.origin)
    way.target.ingest()
    assert way.target.container.ledger().summary(CLICKS).rows == 10
    assert way.target.container.auditor().run().ok


def test_a_crash_between_receipt_and_commit_sends_again_and_lands_once(way: Way) -> None:
    put(way.origin, events(0, 9))
    source = way.source()
    crashes = 0

    def crash() -> None:
        nonlocal crashes
        crashes += 1
        raise Crash

    source.before_commit = crash
    with pytest.raises(Crash):
        way.run(way.forward(source=source))
    assert crashes == 1
    put(way.origin, events(10, 12))
    assert way.run(way.forward()) == {TOPIC: 13}
    there = held(way.target)
    assert sum(map(len, there.values())) == 23
    assert {number: once(some) for number, some in there.items()} == held(way.origin)
    way.target.ingest()
    assert way.target.container.ledger().summary(CLICKS).rows == 13
    assert way.target.container.auditor().run().ok


def test_nothing_is_committed_that_was_not_published(way: Way) -> None:
    put(way.origin, events(0, 9))
    publisher = way.publisher()
    publisher.errors[TOPIC] = [ConfigurationError("no such topic")]
    with pytest.raises(ConfigurationError, match="no such topic"):
        way.run(way.forward(publisher))
    assert not way.empty()
    assert way.run(way.forward()) == {TOPIC: 10}


def test_a_topic_in_trouble_does_not_have_another_one_sent_again(way: Way) -> None:
    put(way.origin, events(0, 9))
    put(way.origin, [NewRecord(b"k", event(ORDERS, "o"))], ORDERS.topic)
    publisher = way.publisher()
    publisher.errors = {name: [TransientError("away")] * 5 for name in (TOPIC, ORDERS.topic)}
    assert way.run(way.forward(publisher)) == {TOPIC: 10, ORDERS.topic: 1}
    assert held(way.target) == held(way.origin)
    assert held(way.target, ORDERS.topic) == held(way.origin, ORDERS.topic)


def test_an_origin_that_is_away_is_asked_again(way: Way) -> None:
    put(way.origin, events(0, 9))
    source = way.source()
    troubles = iter([TransientError("away")] * 3)

    def fail() -> None:
        for error in troubles:
            raise error

    source.before_poll = source.before_commit = fail
    assert way.run(way.forward(source=source)) == {TOPIC: 10}
    assert len(way.telemetry.of(AttemptFailed)) == 3
    assert held(way.target) == held(way.origin)


def test_what_is_being_published_when_it_is_to_stop_is_committed(way: Way) -> None:
    put(way.origin, events(0, 9))
    publisher = Slow(way.target.container.publisher())
    forward = way.forward(publisher)
    thread = threading.Thread(target=forward.run, args=(way.stop,))
    thread.start()
    assert publisher.asked.wait(DEADLINE_S)
    way.stop.set()
    publisher.let.set()
    thread.join(DEADLINE_S)
    assert forward.forwarded == {TOPIC: 10}
    assert way.empty()


def test_what_is_held_is_bounded_while_the_other_log_is_away(way: Way) -> None:
    values = [NewRecord(None, b"x" * 1_000_000) for _ in range(40)]
    put(way.origin, values)
    publisher = Slow(way.target.container.publisher())
    source = way.source()
    forward = way.forward(publisher, source, FlowPolicy(high_bytes=8_000_000, low_bytes=4_000_000))
    thread = threading.Thread(target=forward.run, args=(way.stop,), kwargs={"finished": way.empty})
    thread.start()
    try:
        assert publisher.asked.wait(DEADLINE_S)
        wait_until(lambda: source.records >= 8, "as much is read as may be held")
        polls = source.polls
        wait_until(lambda: source.polls > polls + 20, "the origin is polled all the same")
        assert source.records <= 16
    finally:
        publisher.let.set()
        thread.join(DEADLINE_S)
    assert forward.forwarded == {TOPIC: 40}
