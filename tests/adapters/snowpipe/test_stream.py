"""What is the stream's own, over a FAKE of Snowflake's client: exactly once by tokens, fences, rows left out."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from flowguard.domain.errors import (
    ConfigurationError,
    FencedError,
    PermanentError,
    TransientError,
    UnknownOutcomeError,
)
from flowguard.domain.ingestion import Assignment, TopicPartition
from flowguard.domain.rows import Filtered, Merged, Move, SinkBatch
from tests.adapters.snowpipe.fake import FakeCode, Stored
from tests.adapters.snowpipe.storage import SnowpipeStorage
from tests.builders import CLICKS, MEASUREMENTS, event, place, rows
from tests.contracts.sink_case import FIRST, HERE, SECOND, THERE, batch, claim, land


@pytest.fixture
def storage() -> SnowpipeStorage:
    return SnowpipeStorage()


def offsets(storage: SnowpipeStorage, table: str = "CLICKS") -> list[object]:
    return [row["SOURCE_OFFSET"] for row in storage.account.tables[table]]


# -- exactly once --------------------------------------------------------------------------------------------------


def test_the_channel_is_of_one_making_of_one_partition_and_its_token_is_the_position(storage: SnowpipeStorage) -> None:
    sink = storage.sink()
    land(sink, rows(CLICKS, [3, 5]), claim(sink))
    stream = storage.account.streams["CLICKS", f"flowguard.{CLICKS.topic}.{FIRST}.0"]
    assert stream.token == "6"


def test_rows_that_were_not_committed_in_time_land_once_when_written_again(storage: SnowpipeStorage) -> None:
    sink = storage.sink(timeout_s=0.01)
    ours = claim(sink)
    land(sink, rows(CLICKS, range(3)), ours)
    storage.account.commits = False
    for _ in range(3):
        with pytest.raises(UnknownOutcomeError, match="commit_timeout_s"):
            land(sink, rows(CLICKS, range(3, 8)), ours, expected=3)
    storage.account.commits = True
    # The last try is still on its way, and lands before it is looked for.
    assert land(sink, rows(CLICKS, range(3, 8)), ours, expected=3) == Merged(0, 5)
    assert land(sink, rows(CLICKS, range(8, 9)), ours, expected=8) == Merged(1, 0)
    assert offsets(storage) == list(range(9))


def test_a_write_ends_when_its_rows_are_committed_and_not_before(storage: SnowpipeStorage) -> None:
    sink = storage.sink()
    ours = claim(sink)
    storage.account.late = 3
    assert land(sink, rows(CLICKS, range(3)), ours) == Merged(3, 0)
    assert (storage.account.late, offsets(storage)) == (0, [0, 1, 2])


def test_of_a_batch_whose_first_request_alone_was_committed_the_rest_lands(storage: SnowpipeStorage) -> None:
    sink = storage.sink(timeout_s=0.01)
    ours = claim(sink)
    large = {offset: event(CLICKS, f"e{offset}", page="x" * 900_000) for offset in range(9)}
    storage.account.commits = False
    with pytest.raises(UnknownOutcomeError):
        land(sink, rows(CLICKS, large), ours)
    (stream,) = [one for (table, _), one in storage.account.streams.items() if table == "CLICKS"]
    assert len(stream.flushed) > 2
    del stream.flushed[1:]
    storage.account.commits = True
    merged = land(sink, rows(CLICKS, large), ours)
    assert merged.duplicates > 0 < merged.inserted
    assert offsets(storage) == list(range(9))


def test_a_consumer_that_dies_before_the_commit_leaves_nothing_double(storage: SnowpipeStorage) -> None:
    dying = storage.sink(timeout_s=0.01)
    ours = claim(dying)
    storage.account.commits = False
    with pytest.raises(UnknownOutcomeError):
        land(dying, rows(CLICKS, range(5)), ours)
    heir = storage.sink()
    claimed = claim(heir)  # takes the channel: what was not committed is dropped
    storage.account.commits = True
    assert claimed.next_offset is None
    assert land(heir, rows(CLICKS, range(5)), claimed) == Merged(5, 0)
    assert offsets(storage) == list(range(5))


def test_a_client_that_is_busy_is_tried_again(storage: SnowpipeStorage) -> None:
    sink = storage.sink()
    ours = claim(sink)
    storage.account.append_error = FakeCode.BUSY
    with pytest.raises(TransientError):
        land(sink, rows(CLICKS, range(5)), ours)
    storage.account.append_error = None
    assert land(sink, rows(CLICKS, range(5)), ours) == Merged(5, 0)
    assert offsets(storage) == list(range(5))


def test_no_request_is_larger_than_snowflake_takes(storage: SnowpipeStorage) -> None:
    sink = storage.sink()
    large = {offset: event(CLICKS, f"e{offset}", page="x" * 900_000) for offset in range(9)}
    land(sink, rows(CLICKS, large), claim(sink))
    sent = [one for one in storage.account.requests if ".making." not in one[0]]
    assert len(sent) > 2
    assert all(size <= 4_000_000 for *_, size in sent)
    assert [one[1] for one in sent[1:]] == [one[2] for one in sent[:-1]]
    assert (sent[0][1], sent[-1][2]) == ("0", "9")


def test_a_row_beyond_one_request_is_named_and_nothing_is_appended(storage: SnowpipeStorage) -> None:
    sink = storage.sink()
    with pytest.raises(PermanentError, match="at most 4000000") as caught:
        land(sink, rows(CLICKS, {0: event(CLICKS, "a"), 1: event(CLICKS, "b", page="x" * 4_000_000)}), claim(sink))
    assert [one.offset for one in caught.value.rows] == [1]
    assert offsets(storage) == []


def test_what_was_resolved_without_a_row_is_passed_over_by_the_next_token(storage: SnowpipeStorage) -> None:
    sink = storage.sink()
    ours = claim(sink)
    sink.write(SinkBatch((), (Move(ours, None, 3),), (Filtered(CLICKS, HERE, 1, [0, 1, 2]),)))
    assert claim(storage.sink()).next_offset is None
    ours = claim(sink)
    sink.write(batch(moves=(Move(ours, None, 3),)))
    sink.write(batch(rows(CLICKS, [3]), moves=(Move(ours, 3, 9),)))
    assert claim(storage.sink()).next_offset == 9


# -- fences --------------------------------------------------------------------------------------------------------


def test_a_writer_whose_channel_was_taken_is_fenced_until_it_claims_again(storage: SnowpipeStorage) -> None:
    zombie, heir = storage.sink(), storage.sink()
    old, new = claim(zombie), claim(heir)
    for _ in range(2):
        with pytest.raises(FencedError):
            land(zombie, rows(CLICKS, range(5)), old)
    assert land(heir, rows(CLICKS, range(5)), new) == Merged(5, 0)
    assert offsets(storage) == list(range(5))


def test_one_lost_partition_costs_the_others_of_the_batch_nothing(storage: SnowpipeStorage) -> None:
    sink = storage.sink()
    here, there = claim(sink), claim(sink, THERE)
    claim(storage.sink(), THERE)
    moves = (Move(here, None, 3), Move(there, None, 3))
    with pytest.raises(FencedError) as caught:
        sink.write(batch(rows(CLICKS, range(3)), rows(CLICKS, range(3), partition=1), moves=moves))
    assert caught.value.partitions == (THERE,)
    sink.write(batch(rows(CLICKS, range(3)), moves=moves[:1]))
    assert offsets(storage) == list(range(3))


def test_two_consumers_that_meet_a_new_topic_number_it_the_same(storage: SnowpipeStorage) -> None:
    first, second = storage.sink(), storage.sink()
    claim(first, topic_id=SECOND)

    def meanwhile(name: str) -> None:
        storage.account.before_open = lambda _: None
        claim(second, THERE, FIRST)

    storage.account.before_open = meanwhile
    claimed = claim(first, HERE, FIRST)
    assert claimed.incarnation == claim(second, THERE, FIRST).incarnation == 2
    entered = [(row["INCARNATION"], row["TOPIC_ID"]) for row in storage.account.tables["FG_TOPIC_MAKINGS"]]
    assert entered == [(1, SECOND), (2, FIRST)]


# -- rows that Snowflake leaves out ----------------------------------------------------------------------------------


def bad(row: Stored) -> bool:
    return row.get("SOURCE_OFFSET") == 1


def test_a_row_that_snowflake_left_out_stops_the_sink_until_a_person_saw_to_it(storage: SnowpipeStorage) -> None:
    storage.account.leaves_out = bad
    sink = storage.sink()
    ours = claim(sink)
    for _ in range(2):  # trying again does not make it forget
        with pytest.raises(ConfigurationError, match=r"left 1 rows .*ERROR_TABLE\(CLICKS\).*mended_until="):
            land(sink, rows(CLICKS, range(3)), ours)
    for _ in range(2):  # nor does starting again
        with pytest.raises(ConfigurationError, match="ERROR_TABLE"):
            claim(storage.sink())
    with pytest.raises(ConfigurationError, match="ERROR_TABLE"):
        sink.check()
    mended = storage.sink(mended_until=storage.account.error_at.astimezone())
    claimed = claim(mended)
    assert claimed.next_offset == 3
    assert land(mended, rows(CLICKS, range(3, 5)), claimed, expected=3) == Merged(2, 0)
    assert len(storage.account.error_tables["CLICKS"]) == 1


def test_a_later_row_left_out_stops_the_sink_again(storage: SnowpipeStorage) -> None:
    storage.account.leaves_out = bad
    sink = storage.sink(mended_until=storage.account.error_at.astimezone() - timedelta(seconds=1))
    with pytest.raises(ConfigurationError, match="ERROR_TABLE"):
        land(sink, rows(CLICKS, range(3)), claim(sink))


# -- rows ------------------------------------------------------------------------------------------------------------


def measurement(storage: SnowpipeStorage, value: bytes) -> Stored:
    sink = storage.sink()
    land(sink, rows(MEASUREMENTS, {0: value}), claim(sink, place(MEASUREMENTS)))
    (row,) = storage.account.tables["MEASUREMENTS"]
    return row


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0])
def test_a_row_has_every_column_with_its_value_in_full(storage: SnowpipeStorage, number: int) -> None:
    row = measurement(
        storage, event(MEASUREMENTS, "e", count=number, price=Decimal("12345678901234567890.123456789012"))
    )
    assert (row["COUNT"], row["PRICE"]) == (number, "12345678901234567890.123456789012")
    assert row["SEEN_AT"] == "2026-01-02T03:04:05.678901Z"
    assert (row["TAGS"], row["PAYLOAD"]["tags"]) == ({"a": [1, None, "é"]}, {"a": [1, None, "é"]})
    assert (row["WORKING"], row["LEVEL"], row["NOTE"]) == (True, 0.5, None)
    assert row["INGESTION_ID"] == f"{MEASUREMENTS.topic}-0-0"
    assert datetime.fromisoformat(row["LANDED_AT"]).tzinfo is not None


def test_a_payload_over_several_lines_is_one_row(storage: SnowpipeStorage) -> None:
    sink = storage.sink()
    data = event(CLICKS, "a").replace(b'"user_id"', b'\n\n"user_id"')
    assert land(sink, rows(CLICKS, {0: data}), claim(sink)) == Merged(1, 0)
    assert storage.account.tables["CLICKS"][0]["PAYLOAD"]["user_id"] == "u1"


@pytest.mark.parametrize("price", ["0.1234567890123", "123456789012345678901234567"])
def test_a_decimal_that_snowflake_would_round_is_refused(storage: SnowpipeStorage, price: str) -> None:
    with pytest.raises(PermanentError, match="digits") as caught:
        measurement(storage, event(MEASUREMENTS, "e", price=price))
    assert [one.offset for one in caught.value.rows] == [0]


def test_the_refused_row_once_mended_lands(storage: SnowpipeStorage) -> None:
    with pytest.raises(PermanentError):
        measurement(storage, event(MEASUREMENTS, "e", count=str(2**64)))
    assert measurement(storage, event(MEASUREMENTS, "e", count=7))["COUNT"] == 7


# -- what a person has to mend -----------------------------------------------------------------------------------------


def test_refused_credentials_are_told_and_nothing_is_blamed_on_a_row(storage: SnowpipeStorage) -> None:
    storage.account.open_error = FakeCode.REFUSED
    with pytest.raises(ConfigurationError, match="credentials"):
        claim(storage.sink())


def test_a_replay_is_refused_with_the_way_to_do_it(storage: SnowpipeStorage) -> None:
    with pytest.raises(ConfigurationError, match="snowflake://"):
        storage.sink().write(batch(rows(CLICKS, range(3))))


def test_a_topic_that_the_catalog_does_not_know_is_refused(storage: SnowpipeStorage) -> None:
    with pytest.raises(ConfigurationError, match="elsewhere"):
        storage.sink().claim("me", [Assignment(TopicPartition("elsewhere", 0), FIRST)])


def test_a_channel_that_somebody_else_uses_is_refused(storage: SnowpipeStorage) -> None:
    storage.account.stream("CLICKS", f"flowguard.{CLICKS.topic}.{FIRST}.0").token = "2026-01-02"
    with pytest.raises(ConfigurationError, match="not FlowGuard's"):
        claim(storage.sink())


def test_a_closed_sink_says_so(storage: SnowpipeStorage) -> None:
    sink = storage.sink()
    ours = claim(sink)
    sink.close()
    with pytest.raises(TransientError, match="closed"):
        land(sink, rows(CLICKS, range(3)), ours)
