"""Makes the sink of snowpipe://. Its tables are those of snowflake://, which migrates and reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from flowguard.domain.catalog import Catalog
from flowguard.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from flowguard.ports.sink import EventSink


def sink(url: str, catalog: Catalog) -> EventSink:
    from flowguard.adapters.snowpipe import Place, SnowpipeStreamingEventSink, connector, url_of

    schema = url_of(url)
    place = Place(schema.where, schema.commit_timeout_s, mended_until=schema.mended_until)
    return SnowpipeStreamingEventSink(connector(schema), catalog, place)


def ledger() -> NoReturn:
    """Raises ConfigurationError: a stream of rows cannot be read back."""
    raise ConfigurationError(
        "sink_url: snowpipe:// takes rows and tells nothing of them; for status, audit, rows and the gateway, set"
        " sink_url to the same schema by a URL that can be read (snowflake://), and keep snowpipe:// for the consumer"
    )
