"""FastStream, written with care: batches, one call of pydantic for each, executemany in one transaction, then ack."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import orjson
import psycopg
from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker, KafkaMessage
from pydantic import TypeAdapter

from benchmarks.peers.rows import Click, insert_of, row_of

_many = TypeAdapter(list[Click])


async def _undecoded(message: KafkaMessage) -> KafkaMessage:
    """The handler decodes: it wants the offsets, too, and each value decoded once."""
    return message


def _app(bootstrap: str, topic: str, url: str, group: str, batch: int) -> FastStream:
    broker = KafkaBroker(bootstrap, apply_types=False, logger=logging.getLogger(__name__))
    app = FastStream(broker)
    open_: list[psycopg.AsyncConnection[Any]] = []

    @app.on_startup  # type: ignore[untyped-decorator]
    async def connect() -> None:
        open_.append(await psycopg.AsyncConnection.connect(url))

    @broker.subscriber(  # type: ignore[untyped-decorator]
        topic,
        group_id=group,
        batch=True,
        max_records=batch,
        polling_interval=0.25,
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.MANUAL,
        decoder=_undecoded,
    )
    async def land(message: KafkaMessage) -> None:
        records = message.raw_message
        events = [orjson.loads(one.value()) for one in records]
        clicks = _many.validate_python([event["data"] for event in events])
        rows = [
            row_of(event, click.__dict__, (one.topic(), one.partition(), one.offset()))
            for event, click, one in zip(events, clicks, records, strict=True)
        ]
        async with open_[0].cursor() as cursor:
            await cursor.executemany(insert_of(rows[0]), rows)
        await open_[0].commit()
        await message.ack()

    return app


if __name__ == "__main__":
    servers, name, database, member, size = sys.argv[1:]
    asyncio.run(_app(servers, name, database, member, int(size)).run())
