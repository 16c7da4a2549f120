"""Rows, tables and COPY blocks for the measurements of PostgreSQL's storage choices."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow

from flowguard.domain.columns import METADATA, Column, Kind, columns_of
from flowguard.domain.events import Click

Row = tuple[Any, ...]
Db = Connection[TupleRow]

COLUMNS = (*METADATA, *columns_of(Click))
TOPIC = "raw.clicks.v1"
PARTITIONS = 6
RUN = 500
"""Rows that come from one partition before the next one's: a batch holds several partitions' rows."""

TYPES = {
    Kind.TEXT: "text",
    Kind.INTEGER: "bigint",
    Kind.REAL: "double precision",
    Kind.DECIMAL: "numeric",
    Kind.BOOLEAN: "boolean",
    Kind.TIMESTAMP: "timestamptz",
    Kind.JSON: "json",
}

INGESTION_KEY = "UNIQUE (ingestion_id)"
EVENT_KEY = "UNIQUE (producer_service, event_id)"
PLACE = "source_topic, source_incarnation, source_partition, source_offset"
PLACE_INDEX = f"INDEX ({PLACE})"

_FIRST_MS = 1_790_000_000_000
_NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


@dataclass(frozen=True)
class Table:
    """One definition. A key is `UNIQUE (...)`, `UNIQUE INDEX (...)` or `INDEX ...`; `types` replaces columns' types."""

    name: str
    keys: tuple[str, ...] = (INGESTION_KEY, EVENT_KEY, PLACE_INDEX)
    types: dict[str, str] = field(default_factory=dict)
    random_ids: bool = False

    def make(self, db: Db) -> None:
        lines = [
            f"{one.name} {self.types.get(one.name, TYPES[one.kind])}{' NOT NULL' if one.required else ''}"
            for one in COLUMNS
        ]
        lines += [key for key in self.keys if key.startswith("UNIQUE (")]
        run(db, f"DROP TABLE IF EXISTS {self.name}")
        run(db, f"CREATE TABLE {self.name} ({', '.join(lines)})")
        for key in self.keys:
            if not key.startswith("UNIQUE ("):
                run(db, f"CREATE {key.replace('INDEX', f'INDEX ON {self.name}', 1)}")
        db.commit()

    def fill(self, db: Db, first: int, last: int) -> None:
        """Rows `first` to `last - 1`, made by the server, one batch after the other as a consumer would write them."""
        run(db, "SET LOCAL synchronous_commit = off")
        topic = "1::smallint" if self.types.get("source_topic") == "smallint" else f"'{TOPIC}'"
        head = (
            "md5(random()::text || n)"
            if self.random_ids
            else f"lpad(to_hex({_FIRST_MS} + n + (random() * 2000)::bigint), 12, '0') || substr(md5(n::text), 13)"
        )
        run(
            db,
            f"""
            INSERT INTO {self.name}
            SELECT (overlay(head PLACING '7' FROM 13 FOR 1)::uuid)::{self.types.get("event_id", "text").split()[0]},
              'clicks', 1, {topic}, 1, part, at, 'gateway', '{TOPIC}-' || part || '-' || at, 'user_' || n % 50000,
              timestamptz '{_NOW}' + n * interval '1 ms', timestamptz '{_NOW}' + n / 5000 * interval '5 s',
              ('{{"user_id": "user_' || n % 50000 || '", "session_id": "session_' || n / 20 || '", "item_id": "'
              || n % 3000 || '", "ad_id": "food_' || n % 300
              || '", "page": "/menu/today", "referrer": "https://www.example.com/search?q=food"}}')
              ::{self.types.get("payload", "json").split()[0]},
              'user_' || n % 50000, 'session_' || n / 20, (n % 3000)::text, 'food_' || n % 300, '/menu/today',
              'https://www.example.com/search?q=food'
            FROM (
              SELECT n, n / {RUN} % {PARTITIONS} AS part, {head} AS head,
                n / {RUN * PARTITIONS} * {RUN} + n % {RUN} AS at
              FROM generate_series({first}::bigint, {last - 1}) AS n
            ) AS made
            """,
        )
        db.commit()


class Maker:
    """Makes the rows of one table, one batch after the other, from a row number on."""

    def __init__(self, table: Table, first: int) -> None:
        self._table = table
        self._next = first
        self._random = Random(first)
        self._topic = 1 if table.types.get("source_topic") == "smallint" else TOPIC

    def batch(self, size: int, *, again: int = 0) -> list[Row]:
        """The next rows; the first `again` of them are the last ones of the batch before, for their keys."""
        first = self._next - again
        self._next = first + size
        landed = _NOW + timedelta(seconds=first)
        return [self._row(n, landed) for n in range(first, first + size)]

    def _row(self, n: int, landed: datetime) -> Row:
        place, part = n // (RUN * PARTITIONS) * RUN + n % RUN, n // RUN % PARTITIONS
        digits = f"{Random(n).getrandbits(128):032x}"
        if not self._table.random_ids:
            digits = f"{_FIRST_MS + n + self._random.randrange(2000):012x}7{digits[13:]}"
        user, session, item, ad = f"user_{n % 50000}", f"session_{n // 20}", str(n % 3000), f"food_{n % 300}"
        page, referrer = "/menu/today", "https://www.example.com/search?q=food"
        payload = json.dumps(
            {"user_id": user, "session_id": session, "item_id": item, "ad_id": ad, "page": page, "referrer": referrer}
        )
        event_id = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        return (
            *(event_id, "clicks", 1, self._topic, 1, part, place, "gateway", f"{TOPIC}-{part}-{place}", user),
            *(_NOW + timedelta(milliseconds=n), landed, payload, user, session, item, ad, page, referrer),
        )


def run(db: Db, statement: str, parameters: Sequence[object] | None = None) -> list[TupleRow]:
    """Execute; the rows, where the statement gives any."""
    cursor = db.execute(statement.encode(), parameters)
    return cursor.fetchall() if cursor.description else []


# --- One block of COPY's text format -------------------------------------------------------------------------


def block(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> bytes:
    """The rows in COPY's text format. Made by columns: few calls into C that each do 5,000 values."""
    texts = [_texts(values, column.kind) for values, column in zip(zip(*rows, strict=True), columns, strict=True)]
    return ("\n".join(map("\t".join, zip(*texts, strict=True))) + "\n").encode()


def _texts(values: Sequence[Any], kind: Kind) -> Iterable[str]:
    if None in values:
        rest = iter(_texts([value for value in values if value is not None], kind))
        return ["\\N" if value is None else next(rest) for value in values]
    if kind in {Kind.TEXT, Kind.JSON} and isinstance(values[0], str):
        return _escaped(values)
    return map(str, values)


def _escaped(values: Sequence[str]) -> Sequence[str]:
    together = "\0".join(values)  # no text of PostgreSQL holds a NUL
    changed = together
    for plain, escape in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        if plain in changed:
            changed = changed.replace(plain, escape)
    return values if changed is together else changed.split("\0")
