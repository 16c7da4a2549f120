"""The real client. Nothing else here imports it."""

from __future__ import annotations

import os
import uuid
from typing import Final, cast

from flowguard.adapters.snowpipe.client import Client, Connect
from flowguard.adapters.snowpipe.errors import mapped
from flowguard.adapters.snowpipe.url import SnowpipeUrl
from flowguard.domain.errors import ConfigurationError

_LOG_LEVEL: Final = "SS_LOG_LEVEL"


def connector(url: SnowpipeUrl) -> Connect:
    """Makes the clients of this schema. Connects to nothing yet.

    Raises ConfigurationError where the extra is not installed.
    """
    os.environ.setdefault(_LOG_LEVEL, "warn")  # it reads this when it is imported, and else tells of all on stdout
    try:
        from snowflake.ingest.streaming import StreamingIngestClient  # noqa: PLC0415  # 30 MB, and optional
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("snowflake"):
            raise
        raise ConfigurationError("snowpipe:// needs the extra `snowpipe`: pip install 'flowguard[snowpipe]'") from error

    def connect(table: str) -> Client:
        with mapped(url.where):
            client = StreamingIngestClient.from_table(
                f"flowguard-{uuid.uuid4().hex}", url.database, url.schema, table, properties=url.properties
            )
        return cast("Client", client)

    return connect
