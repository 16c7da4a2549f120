"""Snowflake by Snowpipe Streaming: rows are appended without a warehouse, and never merged."""

from flowguard.adapters.snowpipe.commits import Place
from flowguard.adapters.snowpipe.sink import SnowpipeStreamingEventSink
from flowguard.adapters.snowpipe.url import SnowpipeUrl, url_of
from flowguard.adapters.snowpipe.vendor import connector

__all__ = ["Place", "SnowpipeStreamingEventSink", "SnowpipeUrl", "connector", "url_of"]
