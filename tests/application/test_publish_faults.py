"""What is wrong with an event is said, and pointed at; its neighbours are not kept out by it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, model_validator

from flowguard.application.intake import MOST_FAULTS, Defaults, Intake, Rejected
from flowguard.application.publish import Unreadable, Verdict
from flowguard.domain.batching import Batch
from flowguard.domain.catalog import EventType
from flowguard.domain.dead_letters import Reason
from flowguard.domain.decoding import BatchDecoder
from flowguard.domain.ingestion import Claim
from tests.application.publishing import BOOKINGS, CATALOG, CLICK, NOW, Desk, click, pointers, verdicts

LINE = {"item_id": "1", "quantity": 1, "unit_price": Decimal("1.00")}
ORDER: dict[str, Any] = {
    "order_id": "o1", "user_id": "u1", "session_id": "s1", "lines": [LINE], "currency": "EUR",
    "total": Decimal("1.00"), "status": "paid",
}  # fmt: skip
CLOUD: dict[str, Any] = {"specversion": "1.0", "id": "c1", "source": "shop", "type": "clicks", "data": CLICK}

NOT_SO: dict[str, list[object]] = {
    "event_id": ["", "x" * 257, 7, None, ["e"]],
    "source": ["", "x" * 257, 7, None],
    "subject": [7, {}, []],
    "schema_version": [0, -1, "1", True, None, Decimal("1.0"), 2**31],
    "occurred_at": [
        "2026-05-01T12:00:00",
        "2026-05-01",
        "noon",
        7,
        None,
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
    ],
    "event_type": ["orders", None],
}
ENVELOPE_FAULTS = [({name: bad}, f"/{name}") for name, some in NOT_SO.items() for bad in some]

STORAGE_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"page": "a\0b"}, "/page"),
    ({"extra": {"a/b": ["", "\0"]}}, "/extra/a~1b/1"),
    ({"extra\0": 1}, ""),
    ({"event_id": "\0"}, "/event_id"),
    ({"extra": Decimal("1e200000")}, "/extra"),
    ({"extra": [2**63]}, "/extra/0"),
    ({"extra": float("nan")}, "/extra"),
    ({"extra": {"deep": float("-inf")}}, "/extra/deep"),
]


@pytest.mark.parametrize(("fields", "pointer"), [*ENVELOPE_FAULTS, *STORAGE_FAULTS])
def test_a_fault_costs_its_event_only(fields: dict[str, Any], pointer: str) -> None:
    desk = Desk()
    report = desk.post([click(event_id="a"), click(**fields), click(event_id="b")])
    assert verdicts(report) == ["accepted", "rejected", "accepted"]
    assert pointers(report, 1) == [pointer]
    assert report.results[1].ingestion_id is None
    assert report.results[1].errors[0].message
    assert [one.id for one in desk.logged()] == ["a", "b"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"specversion": "0.3"}, "/specversion"), ({"data": [CLICK]}, "/data"), ({"id": ""}, "/id"),
        ({"type": "orders"}, "/type"), ({"time": "noon"}, "/time"), ({"schemaversion": 0}, "/schemaversion"),
        ({"data": {**CLICK, "user_id": 1}}, "/data/user_id"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_cloud_event_is_pointed_at_where_it_stands(fields: dict[str, Any], pointer: str) -> None:
    report = Desk().post([{**CLOUD, **fields}])
    assert verdicts(report) == ["rejected"]
    assert pointers(report) == [pointer]


def test_all_that_is_wrong_with_one_event_is_told_at_once() -> None:
    report = Desk().post([{"event_id": "", "occurred_at": "noon", "schema_version": 0}])
    assert pointers(report) == ["/event_id", "/occurred_at", "/schema_version"]
    report = Desk().post([{"user_id": 1, "session_id": "s"}])
    assert pointers(report) == ["/user_id", "/item_id", "/ad_id"]


@pytest.mark.parametrize("event", [None, 7, "text", [click()], True])
def test_an_event_is_an_object(event: object) -> None:
    for event_type in ("clicks", None):
        report = Desk().post([event], event_type)
        assert verdicts(report) == ["rejected"]
        assert report.results[0].errors[0].message == "an event is a JSON object"


def test_a_line_that_could_not_be_read_is_rejected_with_its_reason() -> None:
    report = Desk().post([click(), Unreadable("not JSON: byte 3")])
    assert verdicts(report) == ["accepted", "rejected"]
    assert report.results[1].errors[0].message == "not JSON: byte 3"


@pytest.mark.parametrize("event", [click(), click(event_type="sales"), click(event_type=7), click(event_type=["a"])])
def test_without_a_type_in_the_path_each_event_must_name_one(event: dict[str, Any]) -> None:
    report = Desk().post([event, click(event_type="clicks")], None)
    assert verdicts(report) == ["rejected", "accepted"]
    assert pointers(report) == ["/event_type"]
    assert report.results[0].errors[0].message == "must be one of: clicks, orders, bookings"


def test_the_id_that_was_given_is_told_of_a_rejected_event_and_none_is_made_up() -> None:
    report = Desk().post([{"event_id": "e1"}, {}, {**CLOUD, "data": {}}, {"event_id": 7}])
    assert [one.event_id for one in report.results] == ["e1", None, "c1", None]


# -- models ------------------------------------------------------------------------------------------------------------


def test_a_fault_deep_inside_has_a_json_pointer() -> None:
    report = Desk().post([{**ORDER, "lines": [LINE, {**LINE, "quantity": 0}, {"quantity": 1}]}], "orders")
    assert pointers(report) == ["/lines/1/quantity", "/lines/2/item_id", "/lines/2/unit_price"]


def test_a_fault_of_the_whole_model_points_at_the_whole_event() -> None:
    report = Desk().post([{**ORDER, "total": Decimal("2.00")}], "orders")
    (fault,) = report.results[0].errors
    assert (fault.pointer, fault.message) == ("", "total is 2.00, but the lines add up to 1.00")


def test_the_branches_of_a_union_are_no_part_of_the_pointer() -> None:
    report = Desk().post([{"guest": "Ada", "nights": [1, "x"]}], "bookings")
    assert set(pointers(report)) == {"/nights", "/nights/1"}


def test_a_field_with_an_alias_is_pointed_at_by_its_name_in_the_event() -> None:
    report = Desk().post([{"guest": "Ada", "room/number": 7}], "bookings")
    assert pointers(report) == ["/room~1number"]


def test_a_thousand_mistakes_in_one_event_are_not_all_listed() -> None:
    report = Desk().post([{**ORDER, "lines": [{}] * 1000}], "orders")
    assert len(report.results[0].errors) == MOST_FAULTS


def test_a_bug_in_a_model_costs_the_event_that_met_it_only() -> None:
    desk = Desk()
    report = desk.post([{"guest": "Ada"}, {"guest": "bug"}, {"guest": 7}, {"guest": "Bob"}], "bookings")
    assert verdicts(report) == ["accepted", "rejected", "rejected", "accepted"]
    assert report.results[1].errors[0].message == "its model raised KeyError: 'none'"
    assert pointers(report, 2) == ["/guest"]
    assert desk.data("bookings") == [{"guest": "Ada"}, {"guest": "Bob"}]


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ({"schema_version": 1}, "cannot be read as version 1: KeyError: 'name'"),
        ({"schema_version": 1, "name": "forgotten"}, "cannot be read as version 1: "),
        ({"schema_version": 2}, "Field required"),
    ],
)
def test_an_old_event_that_cannot_be_read_is_rejected(old: dict[str, Any], message: str) -> None:
    report = Desk().post([{"guest": "Ada"}, old, {"name": "Bob", "schema_version": 1}], "bookings")
    assert verdicts(report) == ["accepted", "rejected", "accepted"]
    assert report.results[1].errors[0].message.startswith(message)


def test_what_json_cannot_hold_is_rejected_when_it_comes_from_python() -> None:
    report = Desk().post([click(extra=object()), click(extra="\ud800"), click(event_id="\ud800"), click()])
    assert verdicts(report) == ["rejected", "rejected", "rejected", "accepted"]


# -- whatever comes ----------------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=3) | st.sampled_from(["e1", "a\0", "x" * 257, "2026-05-01T12:00:00Z", "\ud800", "created"])
NUMBERS = st.integers(-(2**65), 2**65) | st.decimals(allow_nan=False) | st.floats()
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["event_id", "occurred_at", "schema_version", "source", "subject", "event_type", "specversion", "data", "guest",
     "name", "nights", "room/number", "extra"]
)  # fmt: skip
GOOD = st.sampled_from(
    [{"guest": "Ada"}, {"guest": "Ada", "nights": [1]}, {"name": "Bob", "schema_version": 1}, {"schema_version": 9},
     {"specversion": "1.0", "id": "c", "source": "s", "type": "bookings", "data": {"guest": "Cy"}}]
)  # fmt: skip
EVENTS = st.lists(
    st.builds(lambda good, odd: {**good, **odd}, GOOD, st.dictionaries(NAMES, JSON, max_size=2)) | JSON, max_size=8
)
DECODER = BatchDecoder(CATALOG)


@given(EVENTS)
def test_each_event_has_one_verdict_and_what_is_accepted_can_land(events: list[object]) -> None:
    desk = Desk()
    report = desk.post(events, BOOKINGS.name)
    assert [one.index for one in report.results] == list(range(len(events)))
    told = verdicts(report)
    assert (told.count("accepted"), told.count("duplicate"), told.count("rejected")) == (
        report.accepted, report.duplicate, report.rejected,
    )  # fmt: skip
    for one in report.results:
        assert bool(one.errors) == (one.verdict is Verdict.REJECTED) == (one.ingestion_id is None)
    runs = desk.runs(BOOKINGS.name)
    logged = [f"{BOOKINGS.topic}-0-{offset}" for run in runs for offset in run.offsets]
    assert logged == [one.ingestion_id for one in report.results if one.verdict is Verdict.ACCEPTED]
    for run in runs:
        claims = {run.partition: Claim(run.partition, 1, 1, 0)}
        decoded = DECODER.decode(Batch(1, (run,)), claims, NOW)
        assert {one.reason for one in decoded.rejections} <= {Reason.UNKNOWN_SCHEMA_VERSION}


class Counted(BaseModel):
    """Its validator changes what it is given, as validators in the wild do."""

    user_id: str

    @model_validator(mode="before")
    @classmethod
    def _take_apart(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {"user_id": given.pop("who")}


def test_a_validator_that_changes_its_input_costs_nobody_else() -> None:
    intake = Intake(EventType("counted", Counted, key="user_id"), Defaults(lambda: "made", "shop"))
    rejected: Rejected = {}
    events: list[tuple[int, dict[str, Any]]] = [(0, {"who": "u1"}), (1, {"who": 7}), (2, {"who": "u3"})]
    admitted = intake.admit(events, rejected, NOW, clean=True)
    assert [one.index for one in admitted] == [0, 2]
    assert list(rejected) == [1]
