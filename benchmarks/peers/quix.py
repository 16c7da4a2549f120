"""Quix Streams: a StreamingDataFrame into its PostgreSQLSink. Nothing is validated."""

from __future__ import annotations

import sys
import tempfile
from typing import Any
from urllib.parse import urlsplit

from quixstreams import Application, message_context
from quixstreams.sinks.community.postgresql import PostgreSQLSink

from benchmarks.peers.rows import Click, row_of

_FIELDS = tuple(Click.model_fields)


def _row(event: dict[str, Any]) -> dict[str, Any]:
    data, where = event["data"], message_context()
    return row_of(event, {name: data.get(name) for name in _FIELDS}, (where.topic, where.partition, where.offset))


def main() -> None:
    bootstrap, topic, url, group, batch = sys.argv[1:]
    where = urlsplit(url)
    sink = PostgreSQLSink(
        host=where.hostname or "",
        port=where.port or 5432,
        dbname=where.path[1:],
        user=where.username or "",
        password="",
        table_name="clicks",
        schema_auto_update=False,  # no statement but the insert
        include_metadata=False,
        on_conflict_do_nothing=True,
    )
    with tempfile.TemporaryDirectory() as state:
        app = Application(
            broker_address=bootstrap,
            consumer_group=group,
            auto_offset_reset="earliest",
            commit_every=int(batch),  # when the sink writes what it has gathered, one transaction a partition
            loglevel="WARNING",
            auto_create_topics=False,
            state_dir=state,
        )
        app.dataframe(app.topic(topic, value_deserializer="json")).apply(_row).sink(sink)
        app.run()


if __name__ == "__main__":
    main()
