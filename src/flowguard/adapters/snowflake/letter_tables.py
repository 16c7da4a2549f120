"""The tables of dead letters: `CLICKS_DLQ`, `ORDERS_DLQ`, ..., all of one shape."""

from __future__ import annotations

from typing import Final

from flowguard.adapters.snowflake.tables import quoted
from flowguard.domain.catalog import EventType

PLACE: Final = ("TOPIC", "INCARNATION", "PARTITION", '"OFFSET"')
"""What a letter is known by: where its record is in the log."""
TOLD: Final = ("REASON", "ERROR", "EVENT_ID", "KEY_BASE64", "VALUE_BASE64", "HEADERS", "TIMESTAMP_MS")
"""What a letter says. Base64 keeps every byte: BASE64_DECODE_STRING(VALUE_BASE64) reads what is text."""
KEPT: Final = ("ATTEMPTS", "FIRST_SEEN", "LAST_SEEN", "STATE")
"""What the queue says of it."""
MARKS: Final = ("STATE", "MARKED_AT")
"""What marking sets."""

TYPES: Final = {
    "TOPIC": "VARCHAR",
    "INCARNATION": "NUMBER(38, 0)",
    "PARTITION": "NUMBER(38, 0)",
    '"OFFSET"': "NUMBER(38, 0)",
    "REASON": "VARCHAR",
    "ERROR": "VARCHAR",
    "EVENT_ID": "VARCHAR",
    "KEY_BASE64": "VARCHAR",
    "VALUE_BASE64": "VARCHAR",
    "HEADERS": "VARCHAR",  # JSON: [[name, value in base64], ...]
    "TIMESTAMP_MS": "NUMBER(38, 0)",  # the log's, since 1970 UTC
    "ATTEMPTS": "NUMBER(38, 0)",
    "FIRST_SEEN": "TIMESTAMP_TZ",
    "LAST_SEEN": "TIMESTAMP_TZ",
    "STATE": "VARCHAR",
    "MARKED_AT": "TIMESTAMP_TZ",  # when a person or a replay set the state
}
_NULLABLE: Final = ("EVENT_ID", "KEY_BASE64", "MARKED_AT")


def letters_name(event_type: EventType) -> str:
    """The name of an event type's table of dead letters."""
    return f"{event_type.table}_dlq".upper()


def letters_of(event_type: EventType) -> str:
    """The same as an SQL identifier."""
    return quoted(letters_name(event_type))


def definition(event_type: EventType) -> str:
    """The statement that makes it."""
    columns = (f"{name} {kind}{'' if name in _NULLABLE else ' NOT NULL'}" for name, kind in TYPES.items())
    return f"CREATE TABLE IF NOT EXISTS {letters_of(event_type)} ({', '.join(columns)})"
