from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.adapters.kafka.letter_headers import MAX_TEXT_BYTES, Marked, Put, headers_of, headers_of_mark, read
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.ingestion import Headers, IngestionId
from flowguard.ports.dead_letters import State
from tests.builders import NOW, NOW_MS, letter

OWN = (
    "fg-dlq-ingestion-id", "fg-dlq-reason", "fg-dlq-error", "fg-dlq-event-id", "fg-dlq-timestamp", "fg-dlq-at",
    "fg-dlq-original-headers", "fg-dlq-state", "fg-dlq-ingestion-ids",
)  # fmt: skip
CONNECT: Headers = (
    ("__connect.errors.topic", b"raw.clicks.v1"),
    ("__connect.errors.partition", b"3"),
    ("__connect.errors.offset", b"42"),
    ("__connect.errors.connector.name", b"warehouse"),
    ("__connect.errors.task.id", b"0"),
    ("__connect.errors.stage", b"VALUE_CONVERTER"),
    ("__connect.errors.class.name", b"org.apache.kafka.connect.json.JsonConverter"),
    ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
    ("__connect.errors.exception.message", b"no JSON"),
    ("__connect.errors.exception.stacktrace", b"org.apache...\n\tat ..."),
)
SPRING: Headers = (
    ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
    ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalStateException"),
    ("kafka_dlt-exception-message", b"no stock"),
    ("kafka_dlt-exception-stacktrace", b"org.spring...\n\tat ..."),
    ("kafka_dlt-original-topic", b"raw.clicks.v1"),
    ("kafka_dlt-original-partition", b"\0\0\0\3"),
    ("kafka_dlt-original-offset", b"\0\0\0\0\0\0\0\x2a"),
    ("kafka_dlt-original-timestamp", NOW_MS.to_bytes(8, "big")),
    ("kafka_dlt-original-timestamp-type", b"CreateTime"),
    ("kafka_dlt-original-consumer-group", b"shop"),
)
PLACE = IngestionId("raw.clicks.v1", 1, 3, 42)

names = st.sampled_from([*OWN, *dict(CONNECT), *dict(SPRING), "trace", ""])
header_lists = st.lists(st.tuples(names | st.text(max_size=5), st.binary(max_size=12)), max_size=25).map(tuple)
texts = st.text(max_size=40)
letters = st.builds(
    DeadLetter,
    st.builds(
        IngestionId,
        st.from_regex(r"[a-z0-9._-]{1,9}", fullmatch=True),
        st.integers(1, 2**31),
        st.integers(0, 2**31 - 1),
        st.integers(0, 2**63 - 1),
    ),
    st.sampled_from(Reason),
    texts,
    st.none() | st.binary(max_size=9),
    st.binary(max_size=9),
    header_lists,
    st.integers(-1, 2**62),
    st.none() | texts,
)
moments = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))]), min_value=datetime(1971, 1, 1))  # noqa: DTZ001


@given(letters, moments, st.booleans())
def test_a_letter_is_read_as_it_was_written_whatever_its_own_headers(
    one: DeadLetter, now: datetime, spring: bool
) -> None:
    found = read(tuple(headers_of(one, now, spring=spring)), 0)
    assert isinstance(found, Put)
    assert found.letter(one.key, one.value) == one
    assert found.put_at == now
    assert found.put_at.utcoffset() == timedelta(0)


@given(letters, st.booleans())
def test_its_own_headers_come_first_as_they_were(one: DeadLetter, spring: bool) -> None:
    written = headers_of(one, NOW, spring=spring)
    assert tuple(written[: len(one.headers)]) == one.headers


def test_a_dead_letter_of_a_dead_letter_keeps_the_marks_of_the_first() -> None:
    first = replace(letter(1), event_id="first")
    second = replace(letter(2), headers=tuple(headers_of(first, NOW)))
    found = read(tuple(headers_of(second, NOW)), 0)
    assert isinstance(found, Put)
    assert found.letter(second.key, second.value) == second


def test_a_letter_that_was_put_back_by_hand_with_all_its_headers_and_failed_in_spring() -> None:
    first = letter(1)
    found = read((*headers_of(first, NOW), *SPRING), 0)
    assert isinstance(found, Put)
    assert found.ingestion_id == PLACE


def test_a_header_that_an_instrumented_client_adds_does_no_harm() -> None:
    found = read((*headers_of(letter(1), NOW), ("traceparent", b"00-1-1-01")), 0)
    assert isinstance(found, Put)
    assert found.headers == letter(1).headers


@given(header_lists, st.integers())
def test_no_headers_are_too_strange_to_be_read(headers: Headers, timestamp_ms: int) -> None:
    read(headers, timestamp_ms)


@pytest.mark.parametrize("name", dict((*headers_of(letter(1), NOW, spring=True), *CONNECT, *SPRING)))
@pytest.mark.parametrize("value", [b"", b"\xff", b"-1"])
def test_a_value_that_makes_no_sense_is_no_crash(name: str, value: bytes) -> None:
    for headers in (tuple(headers_of(letter(1), NOW)), CONNECT, SPRING):
        read(tuple((one, value if one == name else known) for one, known in headers), NOW_MS)


def test_what_is_written_for_the_tools_of_connect_and_spring() -> None:
    one = letter(42, partition=3, error="is wrong: é", reason=Reason.MALFORMED)
    own = len(one.headers)
    assert headers_of(one, NOW, spring=True)[own:-6] == [
        ("__connect.errors.topic", b"raw.clicks.v1"),
        ("__connect.errors.partition", b"3"),
        ("__connect.errors.offset", b"42"),
        ("__connect.errors.connector.name", b"flowguard"),
        ("__connect.errors.task.id", b"0"),
        ("__connect.errors.stage", b"VALUE_CONVERTER"),
        ("__connect.errors.class.name", b"flowguard"),
        ("__connect.errors.exception.class.name", b"flowguard.malformed"),
        ("__connect.errors.exception.message", "is wrong: é".encode()),
        ("__connect.errors.exception.stacktrace", "flowguard.malformed: is wrong: é".encode()),
        ("kafka_dlt-original-topic", b"raw.clicks.v1"),
        ("kafka_dlt-original-partition", b"\0\0\0\3"),
        ("kafka_dlt-original-offset", b"\0\0\0\0\0\0\0\x2a"),
        ("kafka_dlt-original-timestamp", NOW_MS.to_bytes(8, "big")),
        ("kafka_dlt-exception-fqcn", b"flowguard.malformed"),
        ("kafka_dlt-exception-message", "is wrong: é".encode()),
        ("kafka_dlt-exception-stacktrace", "flowguard.malformed: is wrong: é".encode()),
    ]
    assert not any(name.startswith("kafka_dlt") for name, _ in headers_of(one, NOW))


def test_a_long_error_is_cut_between_characters() -> None:
    one = letter(1, error="é" * 1_000_000, event_id="i" * 1_000_000)
    headers = headers_of(one, NOW, spring=True)
    assert sum(len(name) + len(value) for name, value in headers) < 2 * MAX_TEXT_BYTES + 8_000
    found = read(tuple(headers), 0)
    assert isinstance(found, Put)
    assert len(found.error.encode()) in {MAX_TEXT_BYTES, MAX_TEXT_BYTES - 1}
    assert found.error.lstrip("é") == "…"


def test_an_error_that_quotes_what_is_no_text_is_kept() -> None:
    found = read(tuple(headers_of(letter(1, error="lone \ud800"), NOW)), 0)
    assert isinstance(found, Put)
    assert found.error == "lone \\ud800"


@pytest.mark.parametrize("state", State)
def test_a_mark_is_read_as_it_was_written(state: State) -> None:
    ids = (IngestionId("a-1", 1, 0, 7), IngestionId("a-1", 2, 3, 2**40))
    assert read(tuple(headers_of_mark(ids, state, NOW)), 0) == Marked(ids, state)


# -- what others put ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        (b"VALUE_CONVERTER", Reason.MALFORMED),
        (b"KEY_CONVERTER", Reason.MALFORMED),
        (b"HEADER_CONVERTER", Reason.MALFORMED),
        (b"TRANSFORMATION", Reason.INVALID),
        (b"TASK_PUT", Reason.REJECTED_BY_SINK),
        (b"SOMETHING_NEW", Reason.REJECTED_BY_SINK),
    ],
)
def test_a_letter_of_kafka_connect(stage: bytes, reason: Reason) -> None:
    marks = tuple((name, stage if name.endswith(".stage") else value) for name, value in CONNECT)
    found = read((("trace", b"1"), *marks, ("trace", b"2")), NOW_MS)
    put_at = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    error = "org.apache.kafka.connect.errors.DataException: no JSON"
    assert found == Put(PLACE, reason, error, None, NOW_MS, put_at, (("trace", b"1"), ("trace", b"2")))


def test_a_letter_of_kafka_connect_without_an_exception() -> None:
    found = read(CONNECT[:7], NOW_MS)
    assert isinstance(found, Put)
    assert (found.ingestion_id, found.error) == (PLACE, "")


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("exception-cause-fqcn", b"java.lang.IllegalStateException", Reason.REJECTED_BY_SINK),
        ("exception-cause-fqcn", b"org.springframework.kafka.support.serializer.DeserializationException",
         Reason.MALFORMED),
        ("exception-fqcn", b"org.springframework.messaging.converter.MessageConversionException", Reason.MALFORMED),
        ("key-exception-fqcn", b"org.springframework.kafka.support.serializer.DeserializationException",
         Reason.MALFORMED),
        ("exception-cause-fqcn", b"jakarta.validation.ConstraintViolationException", Reason.INVALID),
        ("exception-cause-fqcn",
         b"org.springframework.messaging.handler.annotation.support.MethodArgumentNotValidException", Reason.INVALID),
    ],
)  # fmt: skip
def test_a_letter_of_spring(name: str, kind: bytes, reason: Reason) -> None:
    marks = dict(SPRING) | {f"kafka_dlt-{name}": kind}
    found = read((*marks.items(), ("trace", b"1")), NOW_MS + 9_000)
    assert isinstance(found, Put)
    assert (found.ingestion_id, found.reason, found.timestamp_ms) == (PLACE, reason, NOW_MS)
    assert found.error.endswith("Exception: no stock")
    assert found.put_at == datetime(2026, 1, 2, 3, 4, 14, 678000, tzinfo=UTC)
    assert found.headers == (("trace", b"1"),)


def test_a_letter_in_springs_dialect_with_numbers_as_text() -> None:
    text = {"kafka_dlt-original-partition": b"3", "kafka_dlt-original-offset": b"42"}
    found = read(tuple((dict(SPRING) | text).items()), 0)
    assert isinstance(found, Put)
    assert found.ingestion_id == PLACE


def test_who_wrote_last_put_it_here() -> None:
    elsewhere = (("__connect.errors.topic", b"another"), *CONNECT[1:])
    found = read((*elsewhere, *SPRING), 0)
    assert isinstance(found, Put)
    assert (found.ingestion_id, found.headers) == (PLACE, elsewhere)
    found = read((*SPRING, *elsewhere), 0)
    assert isinstance(found, Put)
    assert (found.ingestion_id.topic, found.headers) == ("another", SPRING)


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 2**62])
def test_a_clock_gone_wild_is_no_crash(timestamp_ms: int) -> None:
    assert isinstance(read(CONNECT, timestamp_ms), Put)


def test_what_is_no_letter_is_none() -> None:
    assert read((), 0) is None
    assert read((("trace", b"1"),), 0) is None
    assert read((("__connect.errors.topic", b""), *CONNECT[1:]), 0) is None
    assert read(tuple((name, b"-1" if name.endswith(".partition") else value) for name, value in CONNECT), 0) is None
