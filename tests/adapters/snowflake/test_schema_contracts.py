from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowguard.domain.catalog import SchemaContract
from flowguard.domain.errors import ConfigurationError
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.contracts.schema import GROWN, SchemaContractCase, bookings, claim, write

pytestmark = pytest.mark.snowflake


@pytest.fixture
def storage(snowflake_url: str) -> Iterator[SnowflakeStorage]:
    storage = SnowflakeStorage(snowflake_url)
    yield storage
    storage.close()


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
