from __future__ import annotations

import pytest

from flowguard.domain.catalog import SchemaContract
from flowguard.domain.errors import ConfigurationError
from flowguard.domain.rows import Merged
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.contracts.schema import GROWN, OLD, SchemaContractCase, bookings, claim, write
from tests.servers.snowflake import Faults

pytestmark = pytest.mark.snowflake


class TestSnowflakeSchemaContracts(SchemaContractCase):
    @pytest.fixture
    def storage(self, storage: SnowflakeStorage) -> SnowflakeStorage:
        return storage


def test_a_column_of_a_type_that_does_not_hold_ours_is_for_a_person_to_mend(storage: SnowflakeStorage) -> None:
    storage.migrate(GROWN)
    storage.drop_column("bookings", "nights")
    storage.execute('ALTER TABLE "BOOKINGS" ADD COLUMN "NIGHTS" VARCHAR')
    sink = storage.sink_with(SchemaContract.EVOLVE)
    told = r"column NIGHTS of table BOOKINGS is (TEXT|VARCHAR), .* give the field another name"
    with pytest.raises(ConfigurationError, match=told):
        write(sink, bookings(("u0", 1)), claim(sink))
    with pytest.raises(ConfigurationError, match=told):
        storage.migrate(GROWN)


def test_who_may_not_add_columns_is_told_what_to_do_and_goes_on_when_it_is_done(
    faulty_url: str, faults: Faults
) -> None:
    storage = SnowflakeStorage(faulty_url)
    storage.migrate(OLD)
    refused = faults.set("error", r"(?i)^\s*ALTER\b", errno="3001", message="Insufficient privileges")
    sink = storage.sink_with(SchemaContract.EVOLVE)
    sink.check()
    ours = claim(sink)
    with pytest.raises(ConfigurationError, match=r"BOOKINGS lacks hotel, nights, and the role may not add columns"):
        write(sink, bookings(("u0", 1)), ours)
    faults.lift(refused)
    storage.migrate(GROWN)
    assert write(sink, bookings(("u0", 1)), ours).merged == {"bookings": Merged(1, 0)}
    storage.close()


def test_a_column_whose_type_somebody_has_changed_blames_no_row(faulty_url: str, faults: Faults) -> None:
    storage = SnowflakeStorage(faulty_url)
    storage.migrate(GROWN)
    sink = storage.sink_with(SchemaContract.EVOLVE)
    ours = claim(sink)
    write(sink, bookings(("u0", 1)), ours)
    faults.set(
        "error", "INSERT INTO .*BOOKINGS", errno="2023", sqlstate="22000", message="Expression type does not match"
    )
    with pytest.raises(ConfigurationError, match="a column has another type"):
        write(sink, bookings(("u1", 2), first=1), ours, 1)
    storage.close()
