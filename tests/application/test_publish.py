"""What becomes of events that are in order: what is logged, under which key, and what the answer says."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from flowguard.application.publish import UnknownEventTypeError
from flowguard.domain.cloudevents import event_of
from flowguard.domain.errors import BackpressureError, TransientError, UnknownOutcomeError
from flowguard.domain.telemetry import EventsPublished
from tests.application.publishing import CLICK, NOW, Desk, click, verdicts


def test_a_bare_event_gets_an_id_a_time_a_source_and_the_newest_version() -> None:
    desk = Desk()
    report = desk.post([click()])
    (logged,) = desk.logged()
    assert (logged.id, logged.time, logged.source, logged.schemaversion) == ("made-1", NOW, "gateway", 1)
    assert (logged.type, logged.subject) == ("clicks", None)
    (result,) = report.results
    assert (result.event_id, result.ingestion_id, result.errors) == ("made-1", "raw.clicks.v1-0-0", ())
    assert (report.accepted, report.duplicate, report.rejected) == (1, 0, 0)


def test_what_the_producer_says_of_its_event_is_kept() -> None:
    desk = Desk()
    said = {"event_id": "e1", "occurred_at": "2026-05-01T14:00:00.123456+02:00", "source": "shop", "subject": "u1"}
    desk.post([click(**said, schema_version=1, event_type="clicks")])
    (logged,) = desk.logged()
    assert logged.time == datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
    assert (logged.id, logged.source, logged.subject) == ("e1", "shop", "u1")


def test_the_payload_is_kept_as_sent_fields_that_the_model_does_not_name_included() -> None:
    desk = Desk()
    desk.post([click(item_id=42, extra={"price": Decimal("1.50")})])
    kept = b'{"user_id":"u1","session_id":"s1","item_id":42,"ad_id":"food_42","extra":{"price":1.50}}'
    assert bytes(desk.logged()[0].data) == kept


def test_nothing_of_the_callers_events_is_changed() -> None:
    event = click(event_id="e1", source="shop")
    booking = {"name": "Ada", "nights": [1], "schema_version": 1}
    desk = Desk()
    desk.post([event])
    desk.post([booking], "bookings")
    assert event == click(event_id="e1", source="shop")
    assert booking == {"name": "Ada", "nights": [1], "schema_version": 1}


def test_a_python_producer_may_give_an_aware_datetime() -> None:
    desk = Desk()
    desk.post([click(occurred_at=datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))))])
    assert desk.logged()[0].time == datetime(2026, 1, 1, tzinfo=UTC)


def test_the_key_is_the_payloads_own_value() -> None:
    desk = Desk()
    desk.post([click(session_id="sé")])
    assert desk.runs()[0].key(0) == "sé".encode()


def test_a_key_with_an_alias_or_a_default_is_the_models_value() -> None:
    desk = Desk()
    desk.post([{"guest": "Ada", "room/number": "7"}, {"guest": "Bob"}], "bookings")
    run = desk.runs("bookings")[0]
    assert [run.key(0), run.key(1)] == [b"7", b"none"]


def test_events_with_the_same_key_stay_in_order() -> None:
    desk = Desk(partitions=3)
    report = desk.post([click(session_id=f"s{number % 5}", event_id=str(number)) for number in range(50)])
    placed = {one.event_id: str(one.ingestion_id).rsplit("-", 2) for one in report.results}
    for session in range(5):
        _, partitions, offsets = zip(*(placed[str(number)] for number in range(session, 50, 5)), strict=True)
        assert len(set(partitions)) == 1
        assert list(map(int, offsets)) == sorted(map(int, offsets))


def test_each_event_may_name_its_own_type() -> None:
    desk = Desk()
    report = desk.post([click(event_type="clicks"), {"guest": "Ada", "event_type": "bookings"}], None)
    assert [one.ingestion_id for one in report.results] == ["raw.clicks.v1-0-0", "raw.bookings.v1-0-0"]
    assert desk.data() == [CLICK]
    assert desk.data("bookings") == [{"guest": "Ada"}]


def test_a_type_that_is_not_in_the_catalog_is_said_so() -> None:
    desk = Desk()
    with pytest.raises(UnknownEventTypeError, match="no event type 'sales'; there are: clicks, orders, bookings"):
        desk.post([click()], "sales")


def test_a_cloud_event_is_taken_apart() -> None:
    desk = Desk()
    event = {
        "specversion": "1.0", "id": "c1", "source": "/shop", "type": "clicks", "time": "2026-01-01T00:00:00Z",
        "subject": "u1", "schemaversion": 1, "datacontenttype": "application/json", "data": CLICK,
    }  # fmt: skip
    report = desk.post([event], None)
    (logged,) = desk.logged()
    assert verdicts(report) == ["accepted"]
    assert (logged.id, logged.source, logged.type, logged.subject) == ("c1", "/shop", "clicks", "u1")
    assert logged.time == datetime(2026, 1, 1, tzinfo=UTC)
    assert desk.data() == [CLICK]


def test_a_topic_that_was_made_again_says_so_in_its_ids() -> None:
    report = Desk(incarnation=2).post([click()])
    assert report.results[0].ingestion_id == "raw.clicks.v1@2-0-0"


# -- versions ----------------------------------------------------------------------------------------------------------


def test_an_older_version_is_checked_as_the_newest_and_stored_as_it_came() -> None:
    desk = Desk()
    report = desk.post([{"name": "Ada", "room/number": "7", "schema_version": 1}], "bookings")
    assert verdicts(report) == ["accepted"]
    assert desk.logged("bookings")[0].schemaversion == 1
    assert desk.data("bookings") == [{"name": "Ada", "room/number": "7"}]


@pytest.mark.parametrize("version", [4, 2**31 - 1])
def test_a_version_from_the_future_is_taken_on_trust(version: int) -> None:
    desk = Desk()
    report = desk.post([{"guest": "Ada"}, {"what": "?", "schema_version": version}, {"guest": "Bob"}], "bookings")
    assert verdicts(report) == ["accepted"] * 3
    assert [one.schemaversion for one in desk.logged("bookings")] == [3, version, 3]


# -- duplicates --------------------------------------------------------------------------------------------------------


def test_an_event_sent_again_is_a_duplicate_and_not_logged_again() -> None:
    desk = Desk()
    first = desk.post([click(event_id="e1")])
    again = desk.post([click(event_id="e1"), click(event_id="e2")])
    assert verdicts(again) == ["duplicate", "accepted"]
    assert again.results[0].ingestion_id == first.results[0].ingestion_id
    assert [one.id for one in desk.logged()] == ["e1", "e2"]
    assert (again.accepted, again.duplicate, again.rejected) == (1, 1, 0)


def test_the_second_of_two_in_one_request_is_a_duplicate_of_the_first() -> None:
    desk = Desk()
    report = desk.post([click(event_id="e1"), click(event_id="e2"), click(event_id="e1", page="/other")])
    assert verdicts(report) == ["accepted", "accepted", "duplicate"]
    assert report.results[2].ingestion_id == report.results[0].ingestion_id == "raw.clicks.v1-0-0"
    assert [one.id for one in desk.logged()] == ["e1", "e2"]


def test_an_invalid_event_does_not_take_its_id() -> None:
    report = Desk().post([{"event_id": "e1"}, click(event_id="e1")])
    assert verdicts(report) == ["rejected", "accepted"]


@pytest.mark.parametrize("other", [{"event_id": "e1", "source": "till"}, {"event_id": "e2"}, {"event_id": "E1"}])
def test_another_source_or_id_is_another_event(other: dict[str, str]) -> None:
    desk = Desk()
    desk.post([click(event_id="e1")])
    assert verdicts(desk.post([click(**other)])) == ["accepted"]


def test_the_same_id_of_another_type_is_another_event() -> None:
    desk = Desk()
    desk.post([click(event_id="e1")])
    assert verdicts(desk.post([{"guest": "Ada", "event_id": "e1"}], "bookings")) == ["accepted"]


def test_ids_that_were_forgotten_are_logged_again() -> None:
    desk = Desk(recent_ids=2)
    desk.post([click(event_id=name) for name in ("e1", "e2", "e3")])
    assert verdicts(desk.post([click(event_id="e3"), click(event_id="e1")])) == ["duplicate", "accepted"]


def test_nothing_is_remembered_before_the_log_has_it() -> None:
    desk = Desk()
    desk.broken.errors["raw.clicks.v1"] = [BackpressureError("full")]
    with pytest.raises(BackpressureError):
        desk.post([click(event_id="e1")])
    assert desk.logged() == []
    assert verdicts(desk.post([click(event_id="e1")])) == ["accepted"]


def test_after_a_lost_reply_the_event_is_logged_again_for_the_sink_to_absorb() -> None:
    desk = Desk()
    desk.broken.errors["raw.clicks.v1"] = [UnknownOutcomeError("the reply was lost")]
    desk.broken.applied = True
    with pytest.raises(UnknownOutcomeError):
        desk.post([click(event_id="e1")])
    assert verdicts(desk.post([click(event_id="e1")])) == ["accepted"]
    assert [one.id for one in desk.logged()] == ["e1", "e1"]


def test_when_one_topic_fails_what_the_other_took_is_a_duplicate_at_the_next_try() -> None:
    desk = Desk()
    desk.broken.errors["raw.bookings.v1"] = [TransientError("away")]
    events = [{"guest": "Ada", "event_id": "b", "event_type": "bookings"}, click(event_id="c", event_type="clicks")]
    with pytest.raises(TransientError, match="away"):
        desk.post(events, None)
    assert verdicts(desk.post(events, None)) == ["accepted", "duplicate"]
    assert len(desk.logged()) == len(desk.logged("bookings")) == 1


def test_two_requests_at_once_with_one_new_id_both_get_an_answer() -> None:
    desk = Desk()

    async def both() -> list[list[str]]:
        requests = (desk.publish.publish([click(event_id="e1")], "clicks") for _ in range(2))
        return [verdicts(report) for report in await asyncio.gather(*requests)]

    assert asyncio.run(both()) in ([["accepted"], ["accepted"]], [["accepted"], ["duplicate"]])


# -- binary mode -------------------------------------------------------------------------------------------------------


def test_on_demand_an_event_is_logged_in_the_binary_mode_of_cloudevents() -> None:
    desk = Desk(binary=True)
    report = desk.post([click(event_id="e1", source="shöp", subject="u1", price=Decimal("1.10"))])
    assert verdicts(report) == ["accepted"]
    (run,) = desk.runs()
    assert run.values == [b'{"user_id":"u1","session_id":"s1","item_id":"42","ad_id":"food_42","price":1.10}']
    assert run.keys == [b"s1"]
    assert dict(run.headers_of(0)) == {
        "ce_specversion": b"1.0", "ce_id": b"e1", "ce_source": "shöp".encode(), "ce_type": b"clicks",
        "ce_time": b"2026-05-01T12:00:00.250000Z", "ce_schemaversion": b"1", "ce_subject": b"u1",
        "content-type": b"application/json",
    }  # fmt: skip


def test_both_modes_log_the_same_event_under_the_same_key() -> None:
    events = [
        click(event_id="e1"),
        click(session_id="s2", source="shop", subject="", occurred_at="2026-01-02T03:04:05Z"),
    ]
    desks = [Desk(binary=False, partitions=3), Desk(binary=True, partitions=3)]
    assert [verdicts(desk.post(events)) for desk in desks] == [["accepted", "accepted"]] * 2
    told = [
        [
            (run.partition, run.key(at), event_of(run.headers_of(at), value))
            for run in desk.runs()
            for at, value in enumerate(run.values)
        ]
        for desk in desks
    ]
    assert told[0] == told[1]
    assert len(told[0]) == 2


# -- telemetry ---------------------------------------------------------------------------------------------------------


def test_a_request_is_told_once_a_stream() -> None:
    desk = Desk()
    desk.post([click(event_id="e1", event_type="clicks")], None)
    events = [
        click(event_id="e1", event_type="clicks"), {"guest": "Ada", "event_type": "bookings"},
        {"event_type": "clicks"}, {"event_type": "sales"},
    ]  # fmt: skip
    desk.post(events, None)
    assert desk.telemetry.of(EventsPublished) == [
        EventsPublished("clicks", 1, 0, 0, 1.0),
        EventsPublished("clicks", 0, 1, 1, 1.0),
        EventsPublished("bookings", 1, 0, 0, 1.0),
    ]
