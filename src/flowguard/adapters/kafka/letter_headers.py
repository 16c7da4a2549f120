"""What a dead letter says about itself in the headers of its record, in three dialects.

FlowGuard's own (`fg-dlq-*`) says everything. Kafka Connect's (`__connect.errors.*`, of its DeadLetterQueueReporter: all
values are UTF-8 text) and Spring's (`kafka_dlt-*`, of its DeadLetterPublishingRecoverer: numbers are big-endian, 4 or 8
bytes) are written too, for the tools that know them, and read back where another program put the letter. (Connect
writes them with `errors.deadletterqueue.context.headers.enable=true` only.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.ingestion import Headers, IngestionId
from flowguard.ports.dead_letters import State

_OWN: Final = "fg-dlq-"
_ID: Final = f"{_OWN}ingestion-id"
_REASON: Final = f"{_OWN}reason"
_ERROR: Final = f"{_OWN}error"
_EVENT_ID: Final = f"{_OWN}event-id"
_TIMESTAMP: Final = f"{_OWN}timestamp"
_AT: Final = f"{_OWN}at"
_ORIGINAL: Final = f"{_OWN}original-headers"
"""How many of the record's headers are its original ones: they come first, and may carry any of these names too."""
_STATE: Final = f"{_OWN}state"
_IDS: Final = f"{_OWN}ingestion-ids"

_CONNECT: Final = "__connect.errors."
_CONNECT_TOPIC: Final = f"{_CONNECT}topic"
_SPRING: Final = "kafka_dlt-"
_SPRING_TOPIC: Final = f"{_SPRING}original-topic"

MAX_TEXT_BYTES: Final = 16_384
"""An error or event id past this is cut, and ends in an ellipsis: a sink may quote the whole row, and the letter has to
fit into a message. The record's value has it all."""
_MAX_COPY_BYTES: Final = 1_024
"""The same, for the copies of the error in the other dialects."""

_STAGES: Final[Mapping[Reason, str]] = {
    Reason.MALFORMED: "VALUE_CONVERTER",
    Reason.UNKNOWN_EVENT_TYPE: "TRANSFORMATION",
    Reason.UNKNOWN_SCHEMA_VERSION: "TRANSFORMATION",
    Reason.UPCAST_FAILED: "TRANSFORMATION",
    Reason.INVALID: "TRANSFORMATION",
    Reason.REJECTED_BY_SINK: "TASK_PUT",
}
_REASON_OF_STAGE: Final[Mapping[str, Reason]] = {
    "KEY_CONVERTER": Reason.MALFORMED,
    "VALUE_CONVERTER": Reason.MALFORMED,
    "HEADER_CONVERTER": Reason.MALFORMED,
    "TRANSFORMATION": Reason.INVALID,
}
_UNREADABLE: Final = ("DeserializationException", "SerializationException", "ConversionException")
_UNFIT: Final = ("ValidationException", "NotValidException", "ViolationException")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


class Put(NamedTuple):
    """A record that is a dead letter, less its key and value. `headers` are the original ones."""

    ingestion_id: IngestionId
    reason: Reason
    error: str
    event_id: str | None
    timestamp_ms: int
    put_at: datetime
    headers: Headers

    def letter(self, key: bytes | None, value: bytes) -> DeadLetter:
        return DeadLetter(
            self.ingestion_id, self.reason, self.error, key, value, self.headers, self.timestamp_ms, self.event_id
        )


class Marked(NamedTuple):
    """A record that gives these letters, which stand before it, another state."""

    ids: tuple[IngestionId, ...]
    state: State


# -- writing -----------------------------------------------------------------------------------------------------------


def headers_of(letter: DeadLetter, now: datetime, *, spring: bool = False) -> list[tuple[str, bytes]]:
    """The headers of the letter's record: its own first, as they were, and then what it says about itself."""
    original = len(letter.headers)
    return [*letter.headers, *_connect(letter), *(_spring(letter) if spring else ()), *_own(letter, now, original)]


def headers_of_mark(ids: Iterable[IngestionId], state: State, now: datetime) -> list[tuple[str, bytes]]:
    """The headers of a record that marks these letters. It has no key and no value."""
    return [(_STATE, state.encode()), (_IDS, " ".join(map(str, ids)).encode()), (_AT, _at(now))]


def _own(letter: DeadLetter, now: datetime, original: int) -> Iterator[tuple[str, bytes]]:
    yield _ID, str(letter.ingestion_id).encode()
    yield _REASON, letter.reason.encode()
    yield _ERROR, _cut(letter.error, MAX_TEXT_BYTES)
    if letter.event_id is not None:
        yield _EVENT_ID, _cut(letter.event_id, MAX_TEXT_BYTES)
    yield _TIMESTAMP, b"%d" % letter.timestamp_ms
    yield _AT, _at(now)
    yield _ORIGINAL, b"%d" % original


def _at(now: datetime) -> bytes:
    return now.astimezone(UTC).isoformat().encode()


def _connect(letter: DeadLetter) -> Iterator[tuple[str, bytes]]:
    topic, _, partition, offset = letter.ingestion_id
    error, kind = _cut(letter.error, _MAX_COPY_BYTES), _kind(letter)
    yield _CONNECT_TOPIC, topic.encode()
    yield f"{_CONNECT}partition", b"%d" % partition
    yield f"{_CONNECT}offset", b"%d" % offset
    yield f"{_CONNECT}connector.name", b"flowguard"
    yield f"{_CONNECT}task.id", b"0"
    yield f"{_CONNECT}stage", _STAGES[letter.reason].encode()
    yield f"{_CONNECT}class.name", b"flowguard"
    yield f"{_CONNECT}exception.class.name", kind
    yield f"{_CONNECT}exception.message", error
    yield f"{_CONNECT}exception.stacktrace", kind + b": " + error


def _spring(letter: DeadLetter) -> Iterator[tuple[str, bytes]]:
    topic, _, partition, offset = letter.ingestion_id
    error, kind = _cut(letter.error, _MAX_COPY_BYTES), _kind(letter)
    yield _SPRING_TOPIC, topic.encode()
    yield f"{_SPRING}original-partition", partition.to_bytes(4, "big", signed=True)
    yield f"{_SPRING}original-offset", offset.to_bytes(8, "big", signed=True)
    yield f"{_SPRING}original-timestamp", letter.timestamp_ms.to_bytes(8, "big", signed=True)
    yield f"{_SPRING}exception-fqcn", kind
    yield f"{_SPRING}exception-message", error
    yield f"{_SPRING}exception-stacktrace", kind + b": " + error


def _kind(letter: DeadLetter) -> bytes:
    """What stands where the others name the class of an exception."""
    return f"flowguard.{letter.reason}".encode()


def _cut(text: str, limit: int) -> bytes:
    # An error may quote what is no valid text; the letter is kept all the same, and its value has the bytes.
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data
    return data[: limit - 3].decode("utf-8", "ignore").encode() + "…".encode()


# -- reading -----------------------------------------------------------------------------------------------------------


def read(headers: Headers, timestamp_ms: int) -> Put | Marked | None:
    """What a record of a dead-letter topic is; None where it is nothing that we know.

    `timestamp_ms` is the record's own: Connect and Spring do not say when they put it.
    """
    # Whoever wrote last put it here: a record that was a dead letter before may carry the marks of that, too.
    try:
        for name, value in reversed(headers):
            if name == _ORIGINAL:
                return _read_own(headers, int(value))
            if name == _CONNECT_TOPIC:
                return _read_connect(headers, timestamp_ms)
            if name == _SPRING_TOPIC:
                return _read_spring(headers, timestamp_ms)
            if name == _STATE:
                return Marked(
                    tuple(map(IngestionId.parse, dict(headers)[_IDS].decode().split())), State(value.decode())
                )
    except (LookupError, ValueError):  # the names are known and the values make no sense
        return None
    return None


def _read_own(headers: Headers, original: int) -> Put:
    marks = dict(headers[original:])
    event_id = marks.get(_EVENT_ID)
    return Put(
        IngestionId.parse(marks[_ID].decode()),
        Reason(marks[_REASON].decode()),
        marks[_ERROR].decode(),
        None if event_id is None else event_id.decode(),
        int(marks[_TIMESTAMP]),
        datetime.fromisoformat(marks[_AT].decode()).astimezone(UTC),
        headers[:original],
    )


def _read_connect(headers: Headers, timestamp_ms: int) -> Put:
    marks, others = _apart(headers, _CONNECT)
    kind, error = _text(marks.get("exception.class.name")), _text(marks.get("exception.message"))
    return Put(
        _place(marks["topic"], int(marks["partition"]), int(marks["offset"])),
        _REASON_OF_STAGE.get(_text(marks.get("stage")), Reason.REJECTED_BY_SINK),
        ": ".join(filter(None, (kind, error))),
        None,
        timestamp_ms,  # Connect gives its record the timestamp of the original one
        _time(timestamp_ms),
        others,
    )


def _read_spring(headers: Headers, timestamp_ms: int) -> Put:
    marks, others = _apart(headers, _SPRING)
    kinds = [_text(marks.get(name)) for name in ("key-exception-fqcn", "exception-fqcn", "exception-cause-fqcn")]
    error = _text(marks.get("exception-message") or marks.get("key-exception-message"))
    timestamp = marks.get("original-timestamp")
    return Put(
        _place(marks["original-topic"], _number(marks["original-partition"]), _number(marks["original-offset"])),
        _reason_of(kinds),
        ": ".join(filter(None, (next(filter(None, kinds), ""), error))),
        None,
        timestamp_ms if timestamp is None else _number(timestamp),
        _time(timestamp_ms),
        others,
    )


def _apart(headers: Headers, prefix: str) -> tuple[dict[str, bytes], Headers]:
    """The marks of that dialect, the last of each name, less the prefix; and all other headers."""
    marks = {name.removeprefix(prefix): value for name, value in headers if name.startswith(prefix)}
    return marks, tuple(header for header in headers if not header[0].startswith(prefix))


def _place(topic: bytes, partition: int, offset: int) -> IngestionId:
    """Others do not tell the incarnation: the first. Raises ValueError for what is no place (Connect's -1)."""
    if partition < 0 or offset < 0:
        raise ValueError
    return IngestionId.parse(f"{topic.decode()}-{partition}-{offset}")


def _number(value: bytes) -> int:
    # Programs that are not Java write text. Bytes that are all digits would be an offset past 3 * 10^18.
    return int(value) if value.isdigit() else int.from_bytes(value, "big", signed=True)


def _reason_of(kinds: Iterable[str]) -> Reason:
    for kind in kinds:
        if kind.endswith(_UNREADABLE):
            return Reason.MALFORMED
        if kind.endswith(_UNFIT):
            return Reason.INVALID
    return Reason.REJECTED_BY_SINK


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


def _time(timestamp_ms: int) -> datetime:
    """A producer's clock may be anything (microseconds, say): what is no time of this calendar is its end or start."""
    return _EPOCH + timedelta(milliseconds=min(max(timestamp_ms, 0), _LAST_MS))
