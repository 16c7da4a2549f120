"""The variants that `benchmarks.postgres_storage` compares: definitions of the table, and ways into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.postgres_rows import (
    COLUMNS,
    EVENT_KEY,
    INGESTION_KEY,
    PLACE,
    PLACE_INDEX,
    Db,
    Row,
    Table,
    block,
    run,
)

BATCH = 5_000
_NAMES = ", ".join(column.name for column in COLUMNS)

Load = Callable[[Db, str, "Batch"], None]
"""Brings one batch into the table of that name, and commits."""


@dataclass(frozen=True)
class Batch:
    """Rows, and the same rows as a COPY block that was prepared beforehand."""

    rows: list[Row]
    text: bytes


@dataclass
class Sample:
    """One batch: milliseconds of wall time, client CPU and backend CPU, and bytes of WAL a row."""

    wall: float
    client: float
    backend: float
    wal: float


@dataclass
class Variant:
    """A table, and a way into it. `again` rows of each batch are in the table already."""

    name: str
    table: Table
    load: Load
    again: int = 0
    prepare: Callable[[Db, str], None] = lambda _db, _table: None
    samples: list[Sample] = field(default_factory=list)


# --- Ways into a table ---------------------------------------------------------------------------------------


def copied(db: Db, into: str, data: bytes) -> None:
    """One COPY of a prepared block."""
    with db.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN".encode()) as copy:
        copy.write(data)


def direct(db: Db, table: str, batch: Batch) -> None:
    copied(db, table, batch.text)
    db.commit()


def formatted(db: Db, table: str, batch: Batch) -> None:
    copied(db, table, block(batch.rows))
    db.commit()


def formatted_in_pieces(db: Db, table: str, batch: Batch) -> None:
    with db.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
        for first in range(0, len(batch.rows), 1_000):
            copy.write(block(batch.rows[first : first + 1_000]))
    db.commit()


def row_by_row(db: Db, table: str, batch: Batch) -> None:
    with db.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
        for row in batch.rows:
            copy.write_row(row)
    db.commit()


def row_by_row_binary(db: Db, table: str, batch: Batch) -> None:
    with db.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT binary)".encode()) as copy:
        copy.set_types(_BINARY_TYPES)
        for row in batch.rows:
            copy.write_row(row)
    db.commit()


_BINARY_TYPES = [{"integer": "int8", "timestamp": "timestamptz"}.get(column.kind, "text") for column in COLUMNS]


def staged(staging: str, before: str = "", after: str = "") -> Load:
    """By way of a staging table, passing over what is there."""

    def load(db: Db, table: str, batch: Batch) -> None:
        if before:
            run(db, before.format(table=table))
        copied(db, staging.format(table=table), batch.text)
        run(
            db,
            f"INSERT INTO {table} ({_NAMES}) SELECT {_NAMES} FROM {staging.format(table=table)} ON CONFLICT DO NOTHING",
        )
        if after:
            run(db, after.format(table=table))
        db.commit()

    return load


def unnested(db: Db, table: str, batch: Batch) -> None:
    """Without staging: one array a column."""
    types = ["bigint" if c.kind == "integer" else "timestamptz" if c.kind == "timestamp" else "text" for c in COLUMNS]
    arrays = ", ".join(f"%s::{kind}[]" for kind in types)
    values = ", ".join("payload::json" if column.name == "payload" else column.name for column in COLUMNS)
    run(
        db,
        f"INSERT INTO {table} ({_NAMES}) SELECT {values} FROM unnest({arrays}) AS given ({_NAMES})"
        " ON CONFLICT DO NOTHING",
        [list(values) for values in zip(*batch.rows, strict=True)],
    )
    db.commit()


def _not_durable(db: Db, table: str, batch: Batch) -> None:
    run(db, "SET LOCAL synchronous_commit = off")
    direct(db, table, batch)


def temporary(db: Db, table: str) -> None:
    run(db, f"CREATE TEMPORARY TABLE staging_{table} (LIKE {table}) ON COMMIT DELETE ROWS")
    db.commit()


def _unlogged(db: Db, table: str) -> None:
    run(db, f"DROP TABLE IF EXISTS staged_{table}")
    run(db, f"CREATE UNLOGGED TABLE staged_{table} (LIKE {table})")
    db.commit()


BY_TEMPORARY = staged("staging_{table}")


# --- The parts -----------------------------------------------------------------------------------------------


def _tables(*tables: Table) -> list[Variant]:
    return [Variant(table.name, table, direct) for table in tables]


def payload() -> list[Variant]:
    return _tables(
        Table("payload_json"),
        Table("payload_text", types={"payload": "text"}),
        Table("payload_jsonb", types={"payload": "jsonb"}),
    )


_C = 'text COLLATE "C"'
_TEXT_KEYS = ("ingestion_id", "event_id", "producer_service", "source_topic")


def keys() -> list[Variant]:
    place = f"UNIQUE ({PLACE})"
    return _tables(
        Table("base"),
        Table("no_event_key", (INGESTION_KEY, PLACE_INDEX)),
        Table("no_ingestion_key", (EVENT_KEY, PLACE_INDEX)),
        Table("place_unique", (place, EVENT_KEY)),
        Table("place_unique_small_topic", (place, EVENT_KEY), types={"source_topic": "smallint"}),
        Table("both_unique", (INGESTION_KEY, place, EVENT_KEY)),
        Table("two_keys_no_place", (INGESTION_KEY, EVENT_KEY)),
        Table("no_index", ()),
        Table(
            "collate_c",
            types=dict.fromkeys(_TEXT_KEYS, _C),
        ),
        Table("collate_en_us", types=dict.fromkeys(_TEXT_KEYS, 'text COLLATE "en-US-x-icu"')),
    )


def places() -> list[Variant]:
    two = (INGESTION_KEY, EVENT_KEY)
    return _tables(
        Table("place_btree"),
        Table("place_offset_first", (*two, "INDEX (source_offset, source_partition)")),
        Table("place_without_topic", (*two, "INDEX (source_partition, source_offset)")),
        Table("place_brin_offset", (*two, "INDEX USING brin (source_partition, source_offset)")),
        Table("place_brin_ingested", (*two, "INDEX USING brin (ingested_at)")),
        Table("place_included", (f"{INGESTION_KEY} INCLUDE ({PLACE})", EVENT_KEY)),
        Table("place_none", two),
    )


def event_keys() -> list[Variant]:
    rest = (INGESTION_KEY, PLACE_INDEX)
    shapes: dict[str, tuple[str, dict[str, str]]] = {
        "text": (EVENT_KEY, {}),
        "text_c": (EVENT_KEY, {"event_id": _C, "producer_service": _C}),
        "id_first": ("UNIQUE (event_id, producer_service)", {}),
        "id_first_c": ("UNIQUE (event_id, producer_service)", {"event_id": _C, "producer_service": _C}),
        "uuid": (EVENT_KEY, {"event_id": "uuid"}),
        "hash16": ("UNIQUE INDEX ((md5(producer_service || '/' || event_id)::uuid))", {}),
        "hash8": ("UNIQUE INDEX (hashtextextended(event_id, hashtextextended(producer_service, 0)))", {}),
    }
    return [
        Variant(table.name, table, direct)
        for shape, (key, types) in shapes.items()
        for version, random_ids in (("v7", False), ("v4", True))
        for table in [Table(f"event_{shape}_{version}", (*rest, key), types=types, random_ids=random_ids)]
    ]


def forms() -> list[Variant]:
    ways: dict[str, Load] = {
        "prepared_block": direct,
        "own_block": formatted,
        "own_block_in_pieces": formatted_in_pieces,
        "write_row_text": row_by_row,
        "write_row_binary": row_by_row_binary,
    }
    return [Variant(f"form_{name}", Table(f"form_{name}"), way) for name, way in ways.items()]


def staging() -> list[Variant]:
    per_batch = staged("staging_{table}", "CREATE TEMPORARY TABLE staging_{table} (LIKE {table}) ON COMMIT DROP")
    ways: dict[str, tuple[Load, Callable[[Db, str], None]]] = {
        "temporary": (BY_TEMPORARY, temporary),
        "unlogged_truncated": (staged("staged_{table}", after="TRUNCATE staged_{table}"), _unlogged),
        "unlogged_deleted": (staged("staged_{table}", after="DELETE FROM staged_{table}"), _unlogged),
        "made_per_batch": (per_batch, lambda _db, _table: None),
        "unnest": (unnested, lambda _db, _table: None),
    }
    made = [Variant("copy_direct_all_new", Table("copy_direct_all_new"), direct)]
    for name, (way, prepare) in ways.items():
        for share, again in (("all_new", 0), ("half_new", BATCH // 2), ("none_new", BATCH)):
            full = f"{name}_{share}"
            made.append(Variant(full, Table(full), way, again, prepare))
    return made


def durability() -> list[Variant]:
    return [
        Variant("commit_on", Table("commit_on"), direct),
        Variant("commit_off", Table("commit_off"), _not_durable),
    ]


CHOSEN = (
    (INGESTION_KEY, EVENT_KEY, "INDEX USING brin (source_partition, source_offset)"),
    dict.fromkeys(_TEXT_KEYS, _C),
)
"""Keys and types that docs/adr/0010 decides for."""


def chosen() -> list[Variant]:
    return [
        Variant("baseline_write_row_text", Table("baseline_write_row_text"), row_by_row),
        Variant("chosen_write_row_binary", Table("chosen_write_row_binary", *CHOSEN), row_by_row_binary),
    ]


PARTS: dict[str, Callable[[], list[Variant]]] = {
    "payload": payload,
    "keys": keys,
    "places": places,
    "event_keys": event_keys,
    "forms": forms,
    "staging": staging,
    "durability": durability,
    "chosen": chosen,
}
