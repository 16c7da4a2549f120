"""The outbox for services of your own: an event that is sent if, and only if, your transaction commits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from pydantic import BaseModel

from flowguard.application.composing import Composer
from flowguard.application.publish import UnknownEventTypeError
from flowguard.container import Container
from flowguard.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from flowguard.adapters.postgres.outbox_rows import Transaction
    from flowguard.domain.catalog import Catalog

_NAMES = {"event_id": "id", "source": "source", "occurred_at": "time", "subject": "subject"}
"""What CloudEvents calls them."""


class EventAttributes(TypedDict, total=False):
    """What is absent, or None, is made: a UUIDv7, the setting `default_source`, the present time, no subject."""

    event_id: str | None
    source: str | None
    occurred_at: datetime | None
    subject: str | None


class TransactionalOutbox:
    """Made once, used by any number of threads and tasks. It connects to nothing: your transaction does.

    The table is made by `flowguard migrate`, with FLOWGUARD_ORDERS_URL naming your database, and `flowguard relay
    outbox` (or a gateway) moves what is in it to the log. Without `catalog`, that of the settings is used. Raises
    ConfigurationError where the extra `postgres` is not installed.
    """

    def __init__(self, catalog: Catalog | None = None, settings: Settings | None = None) -> None:
        given = {} if catalog is None else {"catalog": catalog}
        container = Container(settings=settings or Settings(), **given)
        binary = container.settings().event_mode == "binary"
        defaults = container.defaults()
        self._composers = {one.name: Composer(one, defaults, binary=binary) for one in container.catalog()}
        self._clock = container.clock()
        self._put = container.outbox_writer()

    def add(
        self,
        into: Transaction,
        event_type: str,
        data: Mapping[str, Any] | BaseModel,
        **attributes: Unpack[EventAttributes],
    ) -> str:
        """Put one event into the outbox, inside of the transaction of `into`; returns its event id.

        `into` is a Connection, a Session, an AsyncSession, or a scoped one: of a session, the event is part of the next
        flush, and nothing is awaited. `data` are the fields of the event type's model, or the model itself. Events that
        are added one after the other keep that order where they have the same key; so do those of transactions that did
        not overlap.

        Raises InvalidEventError at once where the event does not fit the catalog, UnknownEventTypeError,
        ConfigurationError where `into` is something else.
        """
        composer = self._composers.get(event_type)
        if composer is None:
            known = ", ".join(self._composers)
            raise UnknownEventTypeError(f"there is no event type {event_type[:100]!r}; there are: {known}")
        fields = data.model_dump(by_alias=True) if isinstance(data, BaseModel) else dict(data)
        event: dict[str, object] = {"specversion": "1.0", "type": event_type, "data": fields}
        event |= {_NAMES[name]: value for name, value in attributes.items() if value is not None}
        message = composer.compose(event, self._clock.now()).message
        self._put(into, message)
        return message.event_id

    async def add_async(
        self,
        into: AsyncConnection,
        event_type: str,
        data: Mapping[str, Any] | BaseModel,
        **attributes: Unpack[EventAttributes],
    ) -> str:
        """As `add`, for an AsyncConnection, which executes at once."""
        return await into.run_sync(lambda connection: self.add(connection, event_type, data, **attributes))
