"""The tables of the original system, from before FlowGuard: as they were made first, and as they had grown later.

Orders and clicks of the shop, 249 and 242 rows. The first schema knows nothing of where an event came from. Later five
columns of metadata were added; rows from before, 4 orders and 44 clicks, have nothing in them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flowguard.adapters.snowflake import Part, SnowflakeBackfill, SnowflakeEventSink, migrate
from flowguard.domain.catalog import BUILT_IN
from tests.adapters.snowflake.storage import SnowflakeStorage
from tests.contracts.sink_case import FIRST as SAME_LOG

_NUMBERS = "(SELECT INDEX + 1 AS N FROM TABLE(FLATTEN(input => PARSE_JSON('{}'))))"
_MOMENT = "DATEADD(SECOND, {} * N, '2025-03-01 12:00:00'::TIMESTAMP_NTZ)"
FIRST = (
    (
        "CREATE TABLE ORDERS (ID NUMBER(38, 0) NOT NULL, ORDER_ID VARCHAR(64) NOT NULL, USER_ID VARCHAR(64) NOT NULL,"
        " ITEMS VARIANT NOT NULL, TOTAL NUMBER(10, 2) NOT NULL, SHIPPING_ADDRESS VARCHAR(200) NOT NULL,"
        " CREATED_AT TIMESTAMP_NTZ NOT NULL, INSERTED_AT TIMESTAMP_NTZ DEFAULT CURRENT_TIMESTAMP())"
    ),
    (
        "CREATE TABLE CLICKS (ID NUMBER(38, 0) NOT NULL, USER_ID VARCHAR(64) NOT NULL, SESSION_ID VARCHAR(64),"
        " ITEM_ID VARCHAR(32), AD_ID VARCHAR(64) NOT NULL, PAGE VARCHAR(200) NOT NULL,"
        " CLICKED_AT TIMESTAMP_NTZ NOT NULL, INSERTED_AT TIMESTAMP_NTZ DEFAULT CURRENT_TIMESTAMP())"
    ),
    (
        "INSERT INTO ORDERS SELECT N, 'order-' || N, 'user-' || N % 20,"
        " PARSE_JSON('[{\"item_id\": ' || N % 50 || ', \"price\": 9.9}]'), 9.90, N || ' Main Street',"
        f" {_MOMENT.format(20)}, DATEADD(SECOND, 3, {_MOMENT.format(20)})"
        f" FROM {_NUMBERS.format([0] * 249)}"
    ),
    (
        "INSERT INTO CLICKS SELECT N, 'user-' || N % 20, CASE WHEN N > 60 THEN 's-' || FLOOR(N / 5)::NUMBER(38, 0) END,"
        " CASE WHEN N > 60 THEN (N % 50)::VARCHAR END, 'food_' || N % 50, '/menu',"
        f" {_MOMENT.format(3)}, DATEADD(SECOND, 3, {_MOMENT.format(3)})"
        f" FROM {_NUMBERS.format([0] * 242)}"
    ),
)
GROWN = (
    "ALTER TABLE {table} ADD COLUMN EVENT_TYPE VARCHAR(50)",
    "ALTER TABLE {table} ADD COLUMN SCHEMA_VERSION NUMBER(5, 0)",
    "ALTER TABLE {table} ADD COLUMN SOURCE_TOPIC VARCHAR(100)",
    "ALTER TABLE {table} ADD COLUMN PRODUCER_SERVICE VARCHAR(100)",
    "ALTER TABLE {table} ADD COLUMN INGESTION_ID VARCHAR(200)",
    (
        "UPDATE {table} SET EVENT_TYPE = '{table}', SCHEMA_VERSION = 1, SOURCE_TOPIC = 'raw.{table}.v1',"
        " PRODUCER_SERVICE = 'events-gateway', INGESTION_ID = 'raw.{table}.v1-' || ID % {partitions} || '-' ||"
        " FLOOR(ID / {partitions})::NUMBER(38, 0) WHERE ID > {without}"
    ),
)


class OriginalStorage(SnowflakeStorage):
    """A schema of the original system, not migrated yet."""

    def __init__(self, url: str, *, grown: bool) -> None:
        super().__init__(url, migrated=False)
        self.execute(*FIRST)
        if grown:
            self.execute(*(one.format(table="orders", partitions=3, without=4) for one in GROWN))
            self.execute(*(one.format(table="clicks", partitions=4, without=44) for one in GROWN))

    def upgrade(self) -> None:
        """As `flowguard migrate`."""
        migrate(self.url, [*Part], BUILT_IN, **self._times)

    def sink(self) -> SnowflakeEventSink:
        """One that goes on reading the log that filled these tables: somebody has to say so."""
        for one in BUILT_IN:
            self.execute(
                "INSERT INTO FG_INCARNATIONS (TOPIC, INCARNATION, TOPIC_ID)"
                f" SELECT '{one.topic}', 1, '{SAME_LOG}' WHERE NOT EXISTS"
                f" (SELECT 1 FROM FG_INCARNATIONS WHERE TOPIC = '{one.topic}')"
            )
        return super().sink()

    def backfill(self) -> SnowflakeBackfill:
        backfill = SnowflakeBackfill(self.url, **self._times)
        self._closers.append(backfill.close)
        return backfill

    def rows(self, table: str) -> list[Mapping[str, Any]]:
        """All there is, the oldest first."""
        names = [
            name
            for (name,) in self.execute(
                "SELECT COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = CURRENT_SCHEMA()"
                f" AND TABLE_NAME = '{table.upper()}' AND COLUMN_NAME <> 'LANDED_AT' ORDER BY ORDINAL_POSITION"
            )
        ]
        fields = ", ".join(f"'{name.lower()}', \"{name}\"" for name in names)
        # Rows that landed by the sink have no ID; they are the newest.
        order = 'ORDER BY "ID" NULLS LAST'
        found = self.execute(f'SELECT TO_JSON(OBJECT_CONSTRUCT_KEEP_NULL({fields})) FROM "{table.upper()}" {order}')
        return [json.loads(row) for (row,) in found]
