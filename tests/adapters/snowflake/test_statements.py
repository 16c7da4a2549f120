"""What a batch costs in round trips does not depend on how many rows it has: told by the sink, and by the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from flowguard.adapters.snowflake import Part, SnowflakeEventSink, migrate
from flowguard.adapters.snowflake.documents import pieces_of
from flowguard.adapters.snowflake.feeding import MOST_BYTES
from flowguard.adapters.snowflake.tables import table_of
from flowguard.domain.catalog import BUILT_IN
from flowguard.domain.rows import Merged, Move, Rows
from tests.builders import CLICKS, ORDERS, event, place, rows
from tests.contracts.sink_case import batch, claim, land
from tests.servers.snowflake import Faults

pytestmark = pytest.mark.snowflake

NEW = 3
"""The positions, the rows, COMMIT."""
NEW_OF_TWO = 4
BY_FILE = 3
"""Beside them, for each type: PUT, COPY, and the DELETE that empties the staging table."""
MAKE_STAGE = 2
"""Once a connection: the staging table, and the stage."""
EXPLAINED = 1
"""Beside them, where some are there already: what they are, so that the audit can tell."""
FOUND_OUT = 1
"""Beside them, where positions stand elsewhere than expected: moving them from where they are."""


class Counted:
    """A sink that owns one partition of clicks and one of orders."""

    def __init__(self, url: str, faults: Faults) -> None:
        migrate(url, [*Part], BUILT_IN)
        self.sink = SnowflakeEventSink(url, BUILT_IN)
        self._faults = faults
        self._claims = {one: claim(self.sink, place(one)) for one in BUILT_IN}
        self._stand = dict.fromkeys(BUILT_IN, 0)
        self.write(rows(CLICKS, range(1)), rows(ORDERS, range(1)))  # it looks at the columns of each table once

    def write(self, *given: Rows, moving: bool = True) -> int:
        """What it costs."""
        moves = tuple(
            Move(self._claims[one.event_type], one.offsets[0] or None, one.offsets[-1] + 1) for one in given if moving
        )
        for one in given:
            self._stand[one.event_type] = max(self._stand[one.event_type], one.offsets[-1] + 1)
        before = self._counts()
        self.report = self.sink.write(batch(*given, moves=moves)).merged
        ours, servers = (now - then for now, then in zip(self._counts(), before, strict=True))
        assert ours == servers
        return ours

    def land(self, clicks: int, orders: int = 0) -> int:
        """What as many new ones cost, at their positions."""
        given = [
            rows(one, range(self._stand[one], self._stand[one] + number))
            for one, number in ((CLICKS, clicks), (ORDERS, orders))
            if number
        ]
        cost = self.write(*given)
        assert self.report == {one.event_type.name: Merged(len(one.offsets), 0) for one in given}
        return cost

    def _counts(self) -> tuple[int, int]:
        return self.sink.statements, self._faults.counted()["by_kind"]["query"]


@pytest.fixture
def counted(faulty_url: str, faults: Faults) -> Iterator[Counted]:
    faults.reset_counts()
    counted = Counted(faulty_url, faults)
    with closing(counted.sink):
        yield counted


def bound_at_most() -> int:
    """How many clicks a statement takes."""
    (piece,) = pieces_of(table_of(CLICKS), [rows(CLICKS, range(10_000, 10_001))])
    return MOST_BYTES // (len(piece.documents[0]) + 1) - 100


def test_new_rows_that_are_bound_to_the_statement(counted: Counted) -> None:
    assert [counted.land(clicks) for clicks in (1, 100, bound_at_most())] == [NEW] * 3
    assert [counted.land(number, number) for number in (1, 100, 1_000)] == [NEW_OF_TWO] * 3


def test_new_rows_by_a_file(counted: Counted) -> None:
    costs = [counted.land(clicks) for clicks in (10_000, 100_000, 10_000)]
    assert costs == [NEW + BY_FILE + MAKE_STAGE, NEW + BY_FILE, NEW + BY_FILE]
    assert counted.land(1) == NEW
    assert counted.land(10_000, 10_000) == NEW_OF_TWO + 2 * BY_FILE


@pytest.mark.parametrize("number", [1, 100, 1_000, 10_000])
def test_rows_that_are_there_already(counted: Counted, number: int) -> None:
    by_file = BY_FILE if number > bound_at_most() else 0
    counted.land(number)
    replay = rows(CLICKS, range(1, 1 + number))
    counted.write(replay, moving=False)
    assert counted.write(replay, moving=False) == NEW + EXPLAINED + by_file
    assert counted.report == {"clicks": Merged(0, number)}
    # The position stands past them, and the writer did not know: half of them, and as many new ones.
    again = rows(CLICKS, range(1, 1 + 2 * number))
    by_file = BY_FILE if 2 * number > bound_at_most() else 0
    assert counted.write(again) == FOUND_OUT + NEW + EXPLAINED + by_file
    assert counted.report == {"clicks": Merged(number, number)}


@pytest.mark.parametrize("number", [1, 100, 1_000])
def test_events_that_their_producer_has_sent_again(counted: Counted, number: int) -> None:
    counted.land(number)
    start = 1 + number
    sent_again = {start + at: event(CLICKS, f"1/0/{1 + at}") for at in range(number)}
    twice = {start + number + at: event(CLICKS, f"new-{at % number}") for at in range(2 * number)}
    assert counted.write(rows(CLICKS, sent_again | twice)) == NEW + EXPLAINED
    assert counted.report == {"clicks": Merged(number, 2 * number)}


def test_new_rows_go_in_without_a_look_at_the_table_where_nobody_sends_again(faulty_url: str, faults: Faults) -> None:
    migrate(faulty_url, [*Part], BUILT_IN)
    with closing(SnowflakeEventSink(faulty_url, BUILT_IN, event_id_days=0)) as sink:
        ours = claim(sink)
        logged = {0: event(CLICKS, "a"), 1: event(CLICKS, "b"), 2: event(CLICKS, "a")}
        assert land(sink, rows(CLICKS, logged), ours) == Merged(2, 1)
        faults.reset_counts()
        sent_again = rows(CLICKS, {3: event(CLICKS, "c"), 4: event(CLICKS, "a")})
        assert land(sink, sent_again, ours, expected=3) == Merged(2, 0)
        asked = [one["text"] for one in faults.counted()["asked"] if one["at"] == "query"]
        assert len(asked) == NEW
        assert not any("JOIN" in one for one in asked)
        # What was read before is recognised all the same, and what was the same event then.
        for some in (range(3), [2]):
            again = rows(CLICKS, {one: logged[one] for one in some})
            assert sink.write(batch(again)).merged == {"clicks": Merged(0, len(some))}
