"""How the sink writes: straight where all is new, past what exists where it may not be, and never in silence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowguard.adapters.postgres import PostgresEventSink, merging
from flowguard.domain.columns import METADATA, columns_of
from flowguard.domain.errors import ConfigurationError, PermanentError
from flowguard.domain.rows import Merged, Move
from tests.adapters.postgres.storage import PostgresStorage
from tests.builders import CATALOG, CLICKS, MEASUREMENTS, event, place, rows
from tests.contracts.sink_case import batch, claim, land

pytestmark = pytest.mark.postgres


@pytest.fixture
def storage(postgres_url: str) -> Iterator[PostgresStorage]:
    storage = PostgresStorage(postgres_url)
    yield storage
    storage.close()


@pytest.fixture
def sink(storage: PostgresStorage) -> PostgresEventSink:
    return storage.sink()


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way each batch went, try by try."""
    taken: list[str] = []
    load = merging.load

    def noting(connection: object, piece: object, into: str, progress: object) -> None:
        taken.append("staged" if into.startswith("fg_stage") else "straight")
        load(connection, piece, into, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(merging, "load", noting)
    monkeypatch.setattr("flowguard.adapters.postgres.sink.load", noting)
    return taken


def test_what_is_at_the_position_goes_straight_and_what_is_below_is_staged(
    sink: PostgresEventSink, ways: list[str]
) -> None:
    ours = claim(sink)
    land(sink, rows(CLICKS, range(3)), ours)
    land(sink, rows(CLICKS, range(3, 6)), ours, expected=3)
    assert land(sink, rows(CLICKS, range(6)), ours) == Merged(0, 6)
    assert ways == ["straight", "straight", "staged"]


def test_resends_make_it_cautious_for_a_while(sink: PostgresEventSink, ways: list[str]) -> None:
    """An event that the log has twice costs one broken attempt, and not one each time."""
    ours = claim(sink)
    land(sink, rows(CLICKS, {0: event(CLICKS, "first")}), ours)
    for at in range(1, 6):
        resent = rows(CLICKS, {2 * at - 1: event(CLICKS, "first"), 2 * at: event(CLICKS, f"new {at}")})
        assert land(sink, resent, ours, expected=2 * at - 1) == Merged(1, 1)
    assert ways == ["straight", "straight", "staged", "staged", "staged", "staged", "staged"]
    for at in range(11, 200):
        land(sink, rows(CLICKS, [at]), ours, expected=at)
    assert ways[-1] == "straight"


def test_a_constraint_that_somebody_has_added_passes_over_nothing_in_silence(
    sink: PostgresEventSink, storage: PostgresStorage
) -> None:
    storage.execute("ALTER TABLE clicks ADD UNIQUE (user_id)")
    ours = claim(sink)
    values = {
        0: event(CLICKS, "a", user_id="u1"),
        1: event(CLICKS, "b", user_id="u1"),
        2: event(CLICKS, "c", user_id="u2"),
    }
    with pytest.raises(PermanentError, match="another unique constraint of table clicks") as caught:
        land(sink, rows(CLICKS, values), ours)
    assert [(one.partition, one.offset) for one in caught.value.rows] == [(place(CLICKS), 1)]
    assert storage.execute("SELECT count(*) FROM clicks") == [(0,)]
    assert storage.execute("SELECT count(*) FROM fg_absorbed") == [(0,)]


@pytest.mark.parametrize("path", ["straight", "staged"])
@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("note", "half a character: \ud83c", "surrogates not allowed"),
        ("note", "nul: \0", "0x00"),
        ("count", 2**63, "int too big|out of range"),
        ("tags", '{"no": json', "invalid input syntax for type json"),
    ],
)
def test_a_value_that_cannot_be_stored_costs_its_row_only(
    sink: PostgresEventSink, path: str, column: str, value: object, said: str
) -> None:
    written = rows(MEASUREMENTS, range(50))
    at = [one.name for one in (*METADATA, *columns_of(MEASUREMENTS.model))].index(column)
    written.values[17] = (*written.values[17][:at], value, *written.values[17][at + 1 :])
    moves = (Move(claim(sink, place(MEASUREMENTS)), None, 50),) if path == "straight" else ()
    with pytest.raises(PermanentError, match=said) as caught:
        sink.write(batch(written, moves=moves))
    assert [(one.partition, one.offset) for one in caught.value.rows] == [(place(MEASUREMENTS), 17)]


def test_without_its_tables_it_says_what_to_do(postgres_url: str) -> None:
    sink = PostgresEventSink(postgres_url, CATALOG)
    for act in (sink.check, lambda: claim(sink)):
        with pytest.raises(ConfigurationError, match="run `flowguard migrate`"):
            act()
    sink.close()
