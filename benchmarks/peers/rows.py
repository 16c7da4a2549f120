"""A record of the log as a row of the table, by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

Key = Annotated[str, Field(min_length=1, max_length=256)]


class Click(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    user_id: Key
    session_id: Key
    item_id: Key
    ad_id: Key
    page: str | None = None
    referrer: str | None = None


def row_of(event: dict[str, Any], fields: dict[str, Any], place: tuple[str, int, int]) -> dict[str, Any]:
    """Column to value. `event` is the decoded envelope, `fields` are those of its data that have columns."""
    topic, partition, offset = place
    return {
        "event_id": event["id"],
        "event_type": event["type"],
        "schema_version": event["schemaversion"],
        "source_topic": topic,
        "source_incarnation": 1,
        "source_partition": partition,
        "source_offset": offset,
        "producer_service": event["source"],
        "ingestion_id": f"{topic}-{partition}-{offset}",
        "subject": event.get("subject"),
        "occurred_at": event["time"],
        "ingested_at": datetime.now(UTC),
        "payload": orjson.dumps(event["data"]).decode(),
        **fields,
    }


def insert_of(row: dict[str, Any]) -> str:
    """The statement for rows of these columns."""
    values = ", ".join(f"%({name})s" for name in row)
    return f"INSERT INTO clicks ({', '.join(row)}) VALUES ({values}) ON CONFLICT DO NOTHING"
