"""One event at a time: read, validated, inserted past what is there, committed."""

from __future__ import annotations

import sys

import orjson
import psycopg
from confluent_kafka import Consumer

from benchmarks.peers.rows import Click, insert_of, row_of


def main() -> None:
    bootstrap, topic, url, group, _ = sys.argv[1:]
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    with psycopg.connect(url) as connection:
        while True:
            message = consumer.poll(1.0)
            if message is None:
                continue
            event = orjson.loads(message.value())
            click = Click.model_validate(event["data"])
            row = row_of(event, click.__dict__, (topic, message.partition() or 0, message.offset() or 0))
            connection.execute(insert_of(row), row)
            connection.commit()


if __name__ == "__main__":
    main()
