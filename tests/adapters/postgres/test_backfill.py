from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowguard.adapters.postgres import PostgresBackfill
from flowguard.domain.errors import TransientError
from flowguard.ports.ledger import TableSummary
from tests.adapters.postgres.original import OriginalStorage
from tests.builders import CLICKS, place, rows
from tests.contracts.backfill import BackfillContract, UpgradeStorage
from tests.contracts.sink_case import claim, land

pytestmark = pytest.mark.postgres


@pytest.fixture
def first(postgres_url: str) -> Iterator[OriginalStorage]:
    storage = OriginalStorage(postgres_url, grown=False)
    yield storage
    storage.close()


@pytest.fixture
def grown(postgres_url: str) -> Iterator[OriginalStorage]:
    storage = OriginalStorage(postgres_url, grown=True)
    yield storage
    storage.close()


class TestPostgresBackfill(BackfillContract):
    adapter = PostgresBackfill

    @pytest.fixture
    def first(self, first: OriginalStorage) -> OriginalStorage:
        return first

    @pytest.fixture
    def grown(self, grown: OriginalStorage) -> OriginalStorage:
        return grown

    def lose_metadata(self, storage: UpgradeStorage, table: str, count: int) -> None:
        assert isinstance(storage, OriginalStorage)
        storage.execute(
            f"UPDATE {table} SET event_id = NULL, ingestion_id = NULL, producer_service = NULL,"
            " source_partition = NULL, source_offset = NULL"
            f" WHERE id > (SELECT max(id) - {count} FROM {table})"
        )


def test_one_at_a_time(grown: OriginalStorage) -> None:
    grown.upgrade()
    other = grown.backfill()
    said: list[str] = []

    def meanwhile(rows: int) -> None:
        with pytest.raises(TransientError, match="another backfill is at table clicks") as caught:
            other.run(CLICKS, lambda rows: None)
        said.append(str(caught.value))

    grown.backfill().run(CLICKS, meanwhile)
    assert said
    assert other.run(CLICKS, lambda rows: None).filled == 0


def test_beside_a_writer_and_after_it_was_broken_off(grown: OriginalStorage) -> None:
    """Many pages, in several transactions; a consumer lands events all the while."""
    columns = "user_id, session_id, item_id, ad_id, page, clicked_at, inserted_at"
    grown.execute(f"INSERT INTO clicks ({columns}) SELECT {columns} FROM clicks, generate_series(1, 100)")
    grown.upgrade()
    sink = grown.sink()
    claimed = claim(sink, place(CLICKS, 7))
    landed = 0
    steps: list[int] = []

    def writing(filled: int) -> None:
        nonlocal landed
        land(sink, rows(CLICKS, range(landed, landed + 10), partition=7), claimed, landed or None)
        landed += 10
        steps.append(filled)
        if len(steps) == 2:
            raise InterruptedError

    backfill = grown.backfill()
    with pytest.raises(InterruptedError):
        backfill.run(CLICKS, writing)
    old = 242 * 101
    assert 0 < steps[0] < steps[1] < old
    report = backfill.run(CLICKS, writing)
    assert len(steps) > 4
    assert report.filled == old - steps[1]
    assert (report.rows, report.unknown) == (old + landed, old - 198)
    ledger = grown.ledger()
    assert ledger.summary(CLICKS) == TableSummary(old + landed, 198 + landed)
    assert not ledger.doubled(CLICKS)
    assert len(ledger.offsets(CLICKS, place(CLICKS, 7), 1).landed) == landed
