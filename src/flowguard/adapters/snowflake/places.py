"""Where a row of a bronze table came from, as SQL: of an older one, its ingestion id may be all that tells.

Such an id is `topic-partition-offset`, or `topic@incarnation-partition-offset`. The texts name the table's columns.
"""

from __future__ import annotations

from typing import Final

ID_OFFSET: Final = "TRY_CAST(SPLIT_PART(INGESTION_ID, '-', -1) AS NUMBER(38, 0))"
ID_PARTITION: Final = "TRY_CAST(SPLIT_PART(INGESTION_ID, '-', -2) AS NUMBER(38, 0))"
PLACED: Final = f"({ID_OFFSET} IS NOT NULL AND {ID_PARTITION} IS NOT NULL)"
"""Whether the ingestion id tells a place; null or false where it does not."""
_BEFORE: Final = (
    "LEFT(INGESTION_ID, LENGTH(INGESTION_ID) - 2"
    " - LENGTH(SPLIT_PART(INGESTION_ID, '-', -1)) - LENGTH(SPLIT_PART(INGESTION_ID, '-', -2)))"
)
ID_TOPIC: Final = f"SPLIT_PART({_BEFORE}, '@', 1)"
ID_INCARNATION: Final = f"COALESCE(TRY_CAST(SPLIT_PART({_BEFORE}, '@', 2) AS NUMBER(38, 0)), 1)"

TOPIC: Final = f"COALESCE(SOURCE_TOPIC, CASE WHEN {PLACED} THEN {ID_TOPIC} END)"
INCARNATION: Final = f"COALESCE(SOURCE_INCARNATION, CASE WHEN {PLACED} THEN {ID_INCARNATION} END)"
PARTITION: Final = f"COALESCE(SOURCE_PARTITION, CASE WHEN {PLACED} THEN {ID_PARTITION} END)"
OFFSET: Final = f"COALESCE(SOURCE_OFFSET, CASE WHEN {PLACED} THEN {ID_OFFSET} END)"

NOT_FILLED: Final = (
    "(SOURCE_TOPIC IS NULL OR SOURCE_INCARNATION IS NULL OR SOURCE_PARTITION IS NULL OR SOURCE_OFFSET IS NULL)"
)
"""Of a row from before FlowGuard, as long as no backfill has filled its place."""
