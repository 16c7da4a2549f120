"""Messages of the client as runs of records: columns, taken by C loops, as this decides how fast a consumer is."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import cast

from confluent_kafka import Message

from flowguard.adapters.kafka.health import LOGGER
from flowguard.domain.ingestion import Headers, RecordRun, TopicPartition

_milliseconds = itemgetter(1)


def split(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """Those that are records, and those that stand for an error (the end of a partition is one, too)."""
    if not any(map(Message.error, messages)):
        return messages, []
    records: list[Message] = []
    others: list[Message] = []
    for one in messages:
        (records if one.error() is None else others).append(one)
    return records, others


def runs_of(messages: list[Message]) -> list[RecordRun]:
    """One run a partition, in the order in which partitions first come; none of the messages is an error.

    A record without a value (a tombstone) has an empty one here, as has a header without one.
    """
    # Messages of one fetch stand together: a few stretches.
    parts: dict[tuple[object, object], list[Message]] = {}
    for number, same in groupby(messages, Message.partition):
        for topic, stretch in groupby(same, Message.topic):
            parts.setdefault((topic, number), []).extend(stretch)
    return [
        _run(TopicPartition(cast("str", topic), cast("int", number)), part) for (topic, number), part in parts.items()
    ]


def _run(place: TopicPartition, messages: list[Message]) -> RecordRun:
    values = list(map(Message.value, messages))
    keys = list(map(Message.key, messages))
    headers = _all_headers(messages)
    return RecordRun(
        place,
        cast("list[int]", list(map(Message.offset, messages))),
        cast("list[bytes]", values if all(values) else [value or b"" for value in values]),
        list(map(_milliseconds, map(Message.timestamp, messages))),
        None if keys[0] is None and keys.count(None) == len(keys) else keys,
        None if headers.count(None) == len(headers) else [_headers(some) for some in headers],
    )


def _all_headers(messages: list[Message]) -> list[object]:
    """Of each record; none of one with a header whose name is no UTF-8, which the client cannot tell."""
    found: list[object] = []
    rest = map(Message.headers, messages)
    while True:
        try:
            found.extend(rest)
            return found
        except (SystemError, UnicodeError):  # it must not be asked again: the client keeps what it could not finish
            found.append(None)
            LOGGER.warning("a record has a header whose name is not UTF-8: it is read without its headers")


def _headers(headers: object) -> Headers:
    pairs = cast("list[tuple[str, bytes | None]] | None", headers)
    return tuple([(name, value or b"") for name, value in pairs]) if pairs else ()
