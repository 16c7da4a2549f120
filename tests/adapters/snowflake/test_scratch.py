import pytest
from flowguard.adapters.snowflake import SnowflakeEventSink, SnowflakeLedger
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.contracts.durable import DurableSinkContract
from tests.contracts.ledger import LedgerContract
from tests.contracts.sink import SinkContract
@pytest.fixture(scope="module")
def url():
    return "snowflake://u:x@fakesnow/FG/BRONZE?host=127.0.0.1&port=18083&protocol=http&warehouse=WH"
class On:
    @pytest.fixture
    def storage(self, url):
        s = SnowflakeStorage(url); yield s; s.close()
class TestSink(On, SinkContract, DurableSinkContract):
    adapter = SnowflakeEventSink
class TestLedger(On, LedgerContract):
    adapter = SnowflakeLedger
