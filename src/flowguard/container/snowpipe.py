"""Makes the sink of snowpipe://. Its tables are made by snowflake://, and read by SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from flowguard.domain.catalog import Catalog
from flowguard.domain.errors import ConfigurationError
from flowguard.ports.ledger import Ledger

if TYPE_CHECKING:
    from flowguard.ports.sink import EventSink


def sink(url: str, catalog: Catalog) -> EventSink:
    from flowguard.adapters.snowpipe import Place, SnowpipeStreamingEventSink, connector, url_of

    schema = url_of(url)
    place = Place(schema.where, schema.commit_timeout_s, mended_until=schema.mended_until)
    return SnowpipeStreamingEventSink(connector(schema), catalog, place)


class Unreadable(Ledger):
    """In the place of a ledger: consumer and gateway go on without one, everything else says why it cannot."""

    def positions(self) -> NoReturn:
        _refuse()

    def summary(self, *_: object, **__: object) -> NoReturn:
        _refuse()

    def offsets(self, *_: object, **__: object) -> NoReturn:
        _refuse()

    def doubled(self, *_: object, **__: object) -> NoReturn:
        _refuse()

    def recent(self, *_: object, **__: object) -> NoReturn:
        _refuse()


def _refuse() -> NoReturn:
    raise ConfigurationError(
        "sink_url: snowpipe:// takes rows, and tells nothing of them: look at them by SQL (docs/guide/snowpipe.md)"
    )
