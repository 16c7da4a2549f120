"""What every Backfill must do, on the tables of the original system."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

import msgspec
import pytest

from flowguard.domain.errors import ConfigurationError
from flowguard.domain.ingestion import IngestionId
from flowguard.domain.rows import Merged, SinkBatch
from flowguard.ports.backfill import Backfill, BackfillReport
from flowguard.ports.ledger import Ledger, TableSummary
from flowguard.ports.sink import EventSink
from tests.builders import CLICKS, ORDERS, place, rows
from tests.contracts.sink_case import claim, land
from tests.contracts.storage import SinkStorage

TIMES = (("occurred_at", "clicked_at"), ("ingested_at", "inserted_at"))


class UpgradeStorage(SinkStorage, Protocol):
    """A warehouse with the tables of the original system, 249 orders and 242 clicks, and nothing of FlowGuard's."""

    def upgrade(self) -> None:
        """As `flowguard migrate` does."""
        ...

    def backfill(self) -> Backfill: ...

    def rows(self, table: str) -> list[Mapping[str, Any]]:
        """All rows with all their columns as JSON has them, the oldest first."""
        ...


def run(backfill: Backfill) -> tuple[BackfillReport, BackfillReport]:
    """Orders, then clicks."""
    return backfill.run(ORDERS, lambda rows: None), backfill.run(CLICKS, lambda rows: None)


def moment(value: object) -> datetime:
    """A time in JSON: one without a zone is in UTC."""
    found = datetime.fromisoformat(str(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class BackfillContract:
    """Set `adapter`, and give the fixtures `first` and `grown`: UpgradeStorages of the two schemas, not upgraded."""

    adapter: ClassVar[type[Backfill]]

    @pytest.fixture
    def first(self) -> UpgradeStorage:
        raise NotImplementedError("the subclass makes the first schema, without any metadata")

    @pytest.fixture
    def grown(self) -> UpgradeStorage:
        raise NotImplementedError("the subclass makes the later one, where 4 orders and 44 clicks have no metadata")

    @pytest.fixture
    def backfill(self, grown: UpgradeStorage) -> Backfill:
        """Of the grown schema, upgraded."""
        grown.upgrade()
        backfill = grown.backfill()
        assert isinstance(backfill, self.adapter)
        return backfill

    # -- the upgrade -------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("form", ["first", "grown"])
    def test_the_upgrade_keeps_every_row_and_is_done_once(self, form: str, request: pytest.FixtureRequest) -> None:
        storage: UpgradeStorage = request.getfixturevalue(form)
        before = {table: storage.rows(table) for table in ("orders", "clicks")}
        storage.upgrade()
        storage.upgrade()
        for table, old in before.items():
            new = storage.rows(table)
            assert [{name: row[name] for name in old[0]} for row in new] == old
            assert {"event_id", "payload", "source_offset"} <= new[0].keys()

    @pytest.mark.parametrize("form", ["first", "grown"])
    def test_new_events_land_in_the_upgraded_tables(self, form: str, request: pytest.FixtureRequest) -> None:
        storage: UpgradeStorage = request.getfixturevalue(form)
        storage.upgrade()
        sink, ledger = storage.sink(), storage.ledger()
        for event_type, old in ((CLICKS, 242), (ORDERS, 249)):
            there = place(event_type, 7)
            assert land(sink, rows(event_type, range(5), partition=7), claim(sink, there)) == Merged(5, 0)
            again = SinkBatch((rows(event_type, range(3, 9), partition=7),), ())
            assert sink.write(again).merged == {event_type.name: Merged(4, 2)}
            assert ledger.summary(event_type) == TableSummary(old + 9, 9)
            assert len(ledger.offsets(event_type, there, 1).landed) == 9

    # -- what is filled ----------------------------------------------------------------------------------------------

    def test_the_figures_of_the_original_system(self, backfill: Backfill, grown: UpgradeStorage) -> None:
        """245 of 249 orders (98.4 %) and 198 of 242 clicks (81.8 %) say where they came from."""
        orders, clicks = run(backfill)
        ordered = (("occurred_at", "created_at"), ("ingested_at", "inserted_at"))
        assert orders == BackfillReport(249, 249, 4, 0, 245, ordered)
        assert clicks == BackfillReport(242, 242, 44, 0, 198, TIMES)
        ledger = grown.ledger()
        assert ledger.summary(ORDERS) == TableSummary(249, 245)
        assert ledger.summary(CLICKS) == TableSummary(242, 198)

    def test_a_row_with_an_ingestion_id_has_all_its_metadata(self, backfill: Backfill, grown: UpgradeStorage) -> None:
        run(backfill)
        for row in grown.rows("clicks")[44:]:
            where = IngestionId.parse(row["ingestion_id"])
            found = (row["source_topic"], row["source_incarnation"], row["source_partition"], row["source_offset"])
            assert (*where,) == found
            assert row["event_id"] == row["ingestion_id"]
            assert (row["event_type"], row["schema_version"]) == ("clicks", 1)
            assert row["producer_service"] == "events-gateway"
            assert moment(row["occurred_at"]) == moment(row["clicked_at"])
            assert moment(row["ingested_at"]) == moment(row["inserted_at"])

    def test_what_nobody_knows_is_marked_and_has_no_place_in_the_log(
        self, backfill: Backfill, grown: UpgradeStorage
    ) -> None:
        run(backfill)
        unknown = grown.rows("clicks")[:44]
        assert {row["ingestion_id"] for row in unknown} == {f"unknown-clicks-{number}" for number in range(1, 45)}
        for row in unknown:
            assert row["event_id"] == row["ingestion_id"]
            assert row["producer_service"] == "unknown"
            assert (row["event_type"], row["schema_version"], row["source_topic"]) == ("clicks", 1, "raw.clicks.v1")
            assert row["source_incarnation"] is row["source_partition"] is row["source_offset"] is None
            with pytest.raises(ValueError, match="no ingestion id"):
                IngestionId.parse(row["ingestion_id"])

    def test_the_payload_is_made_of_the_rows_own_columns(self, backfill: Backfill, grown: UpgradeStorage) -> None:
        run(backfill)
        row = grown.rows("orders")[100]
        payload = row["payload"] if isinstance(row["payload"], dict) else msgspec.json.decode(row["payload"])
        own = ("id", "order_id", "user_id", "items", "total", "shipping_address", "created_at", "inserted_at")
        assert payload == {name: row[name] for name in own}
        (oldest, *_) = grown.rows("clicks")
        payload = oldest["payload"] if isinstance(oldest["payload"], dict) else msgspec.json.decode(oldest["payload"])
        assert "session_id" not in payload  # it had none

    def test_of_the_first_schema_everything_is_known_but_where_it_came_from(self, first: UpgradeStorage) -> None:
        first.upgrade()
        orders, clicks = run(first.backfill())
        assert (orders.rows, orders.filled, orders.unknown, orders.complete_after) == (249, 249, 249, 0)
        assert (clicks.rows, clicks.filled, clicks.unknown, clicks.complete_after) == (242, 242, 242, 0)
        missing = {name for row in first.rows("clicks") for name, value in row.items() if value is None}
        assert missing == {"subject", "referrer", "session_id", "item_id",
                           "source_incarnation", "source_partition", "source_offset"}  # fmt: skip

    # -- again, beforehand, and meanwhile ----------------------------------------------------------------------------

    def test_done_twice_it_changes_nothing(self, backfill: Backfill, grown: UpgradeStorage) -> None:
        run(backfill)
        before = grown.rows("clicks")
        _, clicks = run(backfill)
        assert (clicks.rows, clicks.filled, clicks.unknown) == (242, 0, 44)
        assert clicks.complete_before == clicks.complete_after == 198
        assert grown.rows("clicks") == before

    def test_the_plan_says_what_the_run_does_and_changes_nothing(
        self, backfill: Backfill, grown: UpgradeStorage
    ) -> None:
        before = grown.rows("clicks")
        plan = backfill.plan(CLICKS)
        assert grown.rows("clicks") == before
        assert run(backfill)[1] == plan

    def test_progress_is_told(self, backfill: Backfill) -> None:
        told: list[int] = []
        backfill.run(CLICKS, told.append)
        assert told == sorted(told)
        assert told[-1] == 242

    def test_rows_that_landed_by_the_sink_are_left_as_they_are(self, backfill: Backfill, grown: UpgradeStorage) -> None:
        sink = grown.sink()
        land(sink, rows(CLICKS, range(5), partition=7), claim(sink, place(CLICKS, 7)))
        before = grown.rows("clicks")[-5:]
        _, clicks = run(backfill)
        assert (clicks.rows, clicks.filled, clicks.complete_before, clicks.complete_after) == (247, 242, 5, 203)
        assert grown.rows("clicks")[-5:] == before

    def test_later_unknown_rows_get_numbers_of_their_own(self, backfill: Backfill, grown: UpgradeStorage) -> None:
        run(backfill)
        self.lose_metadata(grown, "clicks", 3)
        _, clicks = run(backfill)
        assert (clicks.filled, clicks.unknown) == (3, 47)
        assert len({row["ingestion_id"] for row in grown.rows("clicks")}) == 242

    def lose_metadata(self, storage: UpgradeStorage, table: str, count: int) -> None:
        """The newest rows are as those from before."""
        raise NotImplementedError

    # -- what others make of it --------------------------------------------------------------------------------------

    def test_the_same_records_read_again_are_recognised(self, backfill: Backfill, grown: UpgradeStorage) -> None:
        """FlowGuard takes over the topic: what the original system had landed is there, and lands no second time."""
        run(backfill)
        there = place(CLICKS, 2)
        known = grown.ledger().offsets(CLICKS, there, 1).landed
        assert len(known) == 50
        assert replayed(grown.sink(), there.partition) == Merged(10, 50)
        offsets = grown.ledger().offsets(CLICKS, there, 1)
        assert not offsets.duplicates
        assert not grown.ledger().doubled(CLICKS)

    def test_an_unknown_row_is_in_nobodys_balance(self, backfill: Backfill, grown: UpgradeStorage) -> None:
        run(backfill)
        ledger: Ledger = grown.ledger()
        landed = sum(len(ledger.offsets(CLICKS, place(CLICKS, at), 1).landed) for at in range(4))
        assert landed == 198
        assert not ledger.doubled(CLICKS)
        assert len(ledger.recent(CLICKS, 500)) == 242

    def test_a_table_that_was_not_migrated_is_for_a_person_to_mend(self, first: UpgradeStorage) -> None:
        with pytest.raises(ConfigurationError, match=r"table clicks lacks .*: run `flowguard migrate`"):
            first.backfill().plan(CLICKS)


def replayed(sink: EventSink, partition: int) -> Merged:
    """Offsets 1 to 60 of the partition, as the log gives them again."""
    return sink.write(SinkBatch((rows(CLICKS, range(1, 61), partition=partition),), ())).merged["clicks"]
