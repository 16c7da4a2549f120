"""The limit, as a process of its own: records are read and only counted, and as many prepared rows are sent by COPY.

`python -m benchmarks.postgres_raw KAFKA_URL TOPIC URL GROUP BATCH URL_OF_THE_ROWS FORMAT`: the rows are those of the
same table in another database, held in memory in COPY's format (`text` or `binary`) before the first record is read.
"""

from __future__ import annotations

import sys

import psycopg
from confluent_kafka import Consumer

from benchmarks.core import CLICKS
from flowguard.adapters.kafka import KafkaOptions
from flowguard.adapters.kafka.health import ClientHealth
from flowguard.adapters.kafka.source_config import consumer_config
from flowguard.adapters.postgres.tables import table_of
from flowguard.entrypoints.tuning import tune_interpreter
from flowguard.settings import Settings

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_BINARY = "binary"


def prepared(url: str, form: str) -> list[bytes]:
    """The rows of the table as COPY takes them, in the order in which they stand there."""
    table = table_of(CLICKS)
    statement = f"COPY (SELECT {table.names} FROM {table.name} ORDER BY ctid) TO STDOUT (FORMAT {form})"
    with psycopg.connect(url) as connection, connection.cursor() as cursor, cursor.copy(statement) as copy:
        rows = [bytes(row) for row in copy]
    if form == _BINARY:
        rows[0] = rows[0].removeprefix(_HEADER)
        assert rows.pop() == _TRAILER
    return rows


def main() -> None:
    log_url, topic, url, group, batch, url_of_rows, form = sys.argv[1:]
    rows = prepared(url_of_rows, form)
    table = table_of(CLICKS)
    statement = f"COPY {table.name} ({table.names}) FROM STDIN (FORMAT {form})"
    first, last = (_HEADER, _TRAILER) if form == _BINARY else (b"", b"")
    options = KafkaOptions.of(log_url)
    consumer = Consumer(
        consumer_config(options, group, ClientHealth(), Settings().fetch_bytes) | {"auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    tune_interpreter()
    written = 0
    with psycopg.connect(url) as connection:
        while written < len(rows):
            end = written + len(consumer.consume(int(batch), 0.25))
            if end == written:
                continue
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(b"".join([first, *rows[written:end], last]))
            connection.commit()
            written = end
    consumer.close()


if __name__ == "__main__":
    main()
