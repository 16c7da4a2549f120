"""Writers of one schema take turns: how many there are is told, and how long one waits for its turn is bounded."""

from __future__ import annotations

from contextlib import closing
from time import monotonic

import pytest

from flowguard.adapters.snowflake import SnowflakeEventSink
from flowguard.adapters.snowflake.database import Database
from flowguard.domain.errors import TransientError
from flowguard.domain.rows import Merged
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.builders import CLICKS, place, rows
from tests.contracts.sink_case import FIRST, HERE, SECOND, claim, land

pytestmark = pytest.mark.snowflake


def test_a_claim_beyond_the_setting_is_told_once_and_not_refused(
    storage: SnowflakeStorage, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(SnowflakeEventSink(storage.url, writers=2)) as sink:
        for number, owner in enumerate(["one", "two"]):
            claim(sink, place(CLICKS, number), owner=owner)
            claim(sink, place(CLICKS, number), owner=owner)
        assert caplog.messages == []
        for number in (2, 3):
            claim(sink, place(CLICKS, number), owner="three")
        (told,) = caplog.messages
        assert "snowflake_writers (FLOWGUARD_SNOWFLAKE_WRITERS) allows 2" in told
        assert land(sink, rows(CLICKS, range(3)), claim(sink, owner="three")) == Merged(3, 0)


def test_who_has_lost_its_partitions_is_no_writer_any_more(
    storage: SnowflakeStorage, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(SnowflakeEventSink(storage.url, writers=1)) as sink:
        claim(sink, HERE, FIRST, owner="of the topic before it was made again")
        claim(sink, HERE, SECOND, owner="claimed from")
    caplog.clear()
    with closing(SnowflakeEventSink(storage.url, writers=1)) as sink:
        claim(sink, HERE, SECOND, owner="the only one")
    assert caplog.messages == []


def test_the_wait_for_a_turn_is_bounded_and_transient(storage: SnowflakeStorage) -> None:
    with (
        closing(SnowflakeEventSink(storage.url, timeout_s=1, query_timeout_s=600, lock_timeout_s=3)) as sink,
        closing(Database(storage.url)) as other,
    ):
        ours = claim(sink)
        with other.transaction() as session:
            session.change("UPDATE FG_POSITIONS SET EPOCH = EPOCH + 1 WHERE TOPIC = ''")
            began = monotonic()
            with pytest.raises(TransientError, match="a lock was not to be had"):
                land(sink, rows(CLICKS, range(3)), ours)
            assert monotonic() - began < 30
        assert land(sink, rows(CLICKS, range(3)), ours) == Merged(3, 0)
