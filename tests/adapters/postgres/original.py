"""The tables of the original system, from before FlowGuard: as they were made first, and as they had grown later.

Orders and clicks of the shop, 249 and 242 rows. The first schema knows nothing of where an event came from. Later five
columns of metadata were added; rows from before, 4 orders and 44 clicks, have nothing in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowguard.adapters.postgres import Part, PostgresBackfill, PostgresEventSink, migrate
from flowguard.domain.catalog import BUILT_IN
from tests.adapters.postgres.storage import PostgresStorage
from tests.contracts.sink_case import FIRST as SAME_LOG

FIRST = """
CREATE TABLE orders (
  id               serial PRIMARY KEY,
  order_id         varchar(64) NOT NULL,
  user_id          varchar(64) NOT NULL,
  items            jsonb NOT NULL,
  total            numeric(10, 2) NOT NULL,
  shipping_address varchar(200) NOT NULL,
  created_at       timestamp NOT NULL,
  inserted_at      timestamp NOT NULL DEFAULT now()
);
CREATE TABLE clicks (
  id               serial PRIMARY KEY,
  user_id          varchar(64) NOT NULL,
  session_id       varchar(64),
  item_id          varchar(32),
  ad_id            varchar(64) NOT NULL,
  page             varchar(200) NOT NULL,
  clicked_at       timestamp NOT NULL,
  inserted_at      timestamp NOT NULL DEFAULT now()
);
INSERT INTO orders (order_id, user_id, items, total, shipping_address, created_at, inserted_at)
SELECT 'order-' || n, 'user-' || n % 20, jsonb_build_array(jsonb_build_object('item_id', n % 50, 'price', 9.90)), 9.90,
  n || ' Main Street', moment, moment + interval '3 seconds'
FROM generate_series(1, 249) AS n, LATERAL (SELECT timestamp '2025-03-01 12:00' + n * interval '20 s') AS at (moment);
INSERT INTO clicks (user_id, session_id, item_id, ad_id, page, clicked_at, inserted_at)
SELECT 'user-' || n % 20, CASE WHEN n > 60 THEN 's-' || n / 5 END, CASE WHEN n > 60 THEN (n % 50)::text END,
  'food_' || n % 50, '/menu', moment, moment + interval '3 seconds'
FROM generate_series(1, 242) AS n, LATERAL (SELECT timestamp '2025-03-01 12:00' + n * interval '3 s') AS at (moment);
"""

GROWN = """
ALTER TABLE {table}
  ADD event_type       varchar(50),
  ADD schema_version   smallint,
  ADD source_topic     varchar(100),
  ADD producer_service varchar(100),
  ADD ingestion_id     varchar(200) UNIQUE;
UPDATE {table} SET event_type = '{table}', schema_version = 1, source_topic = 'raw.{table}.v1',
  producer_service = 'events-gateway', ingestion_id = 'raw.{table}.v1-' || id % {partitions} || '-' || id / {partitions}
WHERE id > {without};
"""


class OriginalStorage(PostgresStorage):
    """A database of the original system, not migrated yet."""

    def __init__(self, url: str, *, grown: bool) -> None:
        super().__init__(url, migrated=False)
        self.execute(FIRST)
        if grown:
            self.execute(GROWN.format(table="orders", partitions=3, without=4))
            self.execute(GROWN.format(table="clicks", partitions=4, without=44))

    def upgrade(self) -> None:
        """As `flowguard migrate`."""
        migrate(self.url, [*Part], BUILT_IN)

    def sink(self) -> PostgresEventSink:
        """One that goes on reading the log that filled these tables: somebody has to say so."""
        for one in BUILT_IN:
            said = (one.topic, 1, SAME_LOG)
            self.execute("INSERT INTO fg_incarnations VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", *said)
        return super().sink()

    def backfill(self) -> PostgresBackfill:
        backfill = PostgresBackfill(self.url, timeout_s=self.timeout_s)
        self._closers.append(backfill.close)
        return backfill

    def rows(self, table: str) -> list[Mapping[str, Any]]:
        """All there is, the oldest first."""
        return [row for (row,) in self.execute(f"SELECT to_jsonb(t) FROM {table} AS t ORDER BY id")]
