"""Putting a message into the outbox inside of somebody else's SQLAlchemy transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import BigInteger, Column, Connection, DateTime, Identity, LargeBinary, MetaData, Table, Text, func
from sqlalchemy.orm import registry

from flowguard.adapters.postgres.outbox import headers_text
from flowguard.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

    from flowguard.domain.outbox import OutboxMessage

    Transaction: TypeAlias = Connection | Session | AsyncSession | scoped_session[Any] | async_scoped_session[Any]

# As sql/postgres/orders makes it, for whichever driver the caller has.
_OUTBOX: Final = Table(
    "fg_outbox",
    MetaData(),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary, nullable=False),
    Column("headers", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("sent_at", DateTime(timezone=True)),
)


class OutboxRow:
    """A message in a session. A session that has a bind for each class needs one for this one, too."""

    def __init__(self, message: OutboxMessage) -> None:
        for name, value in _values(message).items():
            setattr(self, name, value)


registry().map_imperatively(OutboxRow, _OUTBOX)


def put(into: Transaction, message: OutboxMessage) -> None:
    """Have the message sent if, and only if, the transaction commits.

    To a session it is added like any object of the caller's own, and written when the session flushes: this does no
    I/O, and works in async code. A connection executes it at once. Raises ConfigurationError for what is neither.
    """
    if isinstance(into, Connection):
        into.execute(_OUTBOX.insert().values(**_values(message)))
    elif hasattr(into, "add"):
        into.add(OutboxRow(message))
    elif hasattr(into, "run_sync"):
        raise ConfigurationError("a connection of asyncio has to be awaited: `await outbox.add_async(connection, ...)`")
    else:
        raise ConfigurationError(
            f"the outbox cannot write into a {type(into).__name__}: give a connection or a session of SQLAlchemy"
        )


def _values(message: OutboxMessage) -> dict[str, object]:
    return {
        "event_id": message.event_id,
        "topic": message.topic,
        "key": message.key,
        "value": message.value,
        "headers": headers_text(message.headers),
    }
