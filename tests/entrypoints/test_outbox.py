"""The outbox of a service's own transactions: rolled back means never sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from flowguard import (
    Click,
    ConfigurationError,
    FlowGuardError,
    InvalidEventError,
    Order,
    Settings,
    TransactionalOutbox,
)
from flowguard.adapters.postgres import Part, PostgresOutbox, migrate
from flowguard.domain.cloudevents import event_of
from flowguard.domain.outbox import OutboxMessage
from tests.application.publishing import CLICK
from tests.builders import CLICKS, ORDERS, SAMPLES
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.postgres


class Base(DeclarativeBase):
    pass


class Invoice(Base):
    """What the service itself keeps."""

    __tablename__ = "invoices"
    id: Mapped[int] = mapped_column(primary_key=True)


INVOICES = Table("invoices", MetaData(), Column("id", Integer, primary_key=True))


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    url = postgres.fresh_database()
    migrate(url, [Part.ORDERS])
    return url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        connection.exec_driver_sql("TRUNCATE invoices, fg_outbox RESTART IDENTITY")
    yield engine
    engine.dispose()


@pytest.fixture
def outbox() -> TransactionalOutbox:
    return TransactionalOutbox()


@pytest.fixture
def waiting(url: str) -> Callable[[], list[OutboxMessage]]:
    """What a relay would take."""

    def look() -> list[OutboxMessage]:
        relay = PostgresOutbox(url)
        taken = relay.take(100)
        relay.close()
        assert taken is not None
        return [one.message for one in taken]

    return look


Waiting = Callable[[], list[OutboxMessage]]


def invoices(engine: Engine) -> int:
    with engine.connect() as connection:
        return len(connection.execute(INVOICES.select()).all())


class GaveUpError(Exception):
    """Something of the service's own went wrong, after the event was put into the outbox."""


# -- each kind of transaction ------------------------------------------------------------------------------------------


def core(engine: Engine, outbox: TransactionalOutbox, *, fails: bool) -> None:
    with engine.begin() as connection:
        connection.execute(INVOICES.insert().values(id=1))
        outbox.add(connection, "clicks", CLICK, event_id="e1")
        if fails:
            raise GaveUpError


def orm(engine: Engine, outbox: TransactionalOutbox, *, fails: bool) -> None:
    with Session(engine) as session, session.begin():
        session.add(Invoice(id=1))
        outbox.add(session, "clicks", CLICK, event_id="e1")
        session.flush()
        if fails:
            raise GaveUpError


def scoped(engine: Engine, outbox: TransactionalOutbox, *, fails: bool) -> None:
    session = scoped_session(sessionmaker(engine))
    session.add(Invoice(id=1))
    outbox.add(session, "clicks", CLICK, event_id="e1")
    if fails:
        session.remove()
        raise GaveUpError
    session.commit()
    session.remove()


@asynccontextmanager
async def async_engine(engine: Engine) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(engine.url)
    try:
        yield made
    finally:
        await made.dispose()


def async_session(engine: Engine, outbox: TransactionalOutbox, *, fails: bool) -> None:
    async def main() -> None:
        async with async_engine(engine) as made, AsyncSession(made) as session, session.begin():
            session.add(Invoice(id=1))
            outbox.add(session, "clicks", CLICK, event_id="e1")
            if fails:
                await session.flush()
                raise GaveUpError

    asyncio.run(main())


def async_connection(engine: Engine, outbox: TransactionalOutbox, *, fails: bool) -> None:
    async def main() -> None:
        async with async_engine(engine) as made, made.begin() as connection:
            await connection.execute(INVOICES.insert().values(id=1))
            await outbox.add_async(connection, "clicks", CLICK, event_id="e1")
            if fails:
                raise GaveUpError

    asyncio.run(main())


KINDS = pytest.mark.parametrize("act", [core, orm, scoped, async_session, async_connection])


@KINDS
def test_what_was_committed_is_sent(
    engine: Engine, outbox: TransactionalOutbox, waiting: Waiting, act: Callable[..., None]
) -> None:
    act(engine, outbox, fails=False)
    (message,) = waiting()
    assert (message.event_id, message.topic, message.key) == ("e1", CLICKS.topic, b"s1")
    assert invoices(engine) == 1


@KINDS
def test_what_was_rolled_back_is_never_sent(
    engine: Engine, outbox: TransactionalOutbox, waiting: Waiting, act: Callable[..., None]
) -> None:
    with pytest.raises(GaveUpError):
        act(engine, outbox, fails=True)
    assert waiting() == []
    assert invoices(engine) == 0


def test_of_a_savepoint_too(engine: Engine, outbox: TransactionalOutbox, waiting: Waiting) -> None:
    with Session(engine) as session, session.begin():
        outbox.add(session, "clicks", CLICK, event_id="kept")
        nested = session.begin_nested()
        outbox.add(session, "clicks", CLICK, event_id="given up")
        nested.rollback()
    with engine.begin() as connection:
        savepoint = connection.begin_nested()
        outbox.add(connection, "clicks", CLICK, event_id="given up")
        savepoint.rollback()
    assert [one.event_id for one in waiting()] == ["kept"]


def test_a_session_keeps_the_order_in_which_events_were_added(
    engine: Engine, outbox: TransactionalOutbox, waiting: Waiting
) -> None:
    names = [str(number) for number in range(50)]
    with Session(engine) as session, session.begin():
        for one in names:
            outbox.add(session, "clicks", CLICK, event_id=one)
    assert [one.event_id for one in waiting()] == names


# -- what is sent ------------------------------------------------------------------------------------------------------


def _sent(engine: Engine, outbox: TransactionalOutbox, *given: Any, **attributes: Any) -> str:  # noqa: ANN401
    with engine.begin() as connection:
        return outbox.add(connection, *given, **attributes)


def test_the_event_is_what_publish_would_have_logged(
    engine: Engine, outbox: TransactionalOutbox, waiting: Waiting
) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    data: Mapping[str, object] = {**SAMPLES["orders"], "source": "a field of its own"}
    assert _sent(engine, outbox, "orders", data, event_id="e", source="shop", occurred_at=at, subject="s") == "e"
    (message,) = waiting()
    assert (message.topic, message.key) == (ORDERS.topic, b"u1")
    event = event_of(message.headers, message.value)
    assert (event.id, event.source, event.type, event.time, event.subject) == ("e", "shop", "orders", at, "s")
    assert b"9.9900" in bytes(event.data)
    assert msgspec.json.decode(event.data)["source"] == "a field of its own"


def test_what_is_absent_is_made(engine: Engine, waiting: Waiting) -> None:
    outbox = TransactionalOutbox(settings=Settings(default_source="billing", event_mode="binary"))
    made = _sent(engine, outbox, "clicks", CLICK)
    (message,) = waiting()
    assert dict(message.headers)["ce_source"] == b"billing"
    assert event_of(message.headers, message.value).id == made == message.event_id


def test_a_model_is_taken_as_it_is(engine: Engine, outbox: TransactionalOutbox, waiting: Waiting) -> None:
    _sent(engine, outbox, "clicks", Click(user_id="u", session_id="s", item_id="1", ad_id="a"))
    order = Order.model_validate(SAMPLES["orders"])
    _sent(engine, outbox, "orders", order)
    data = [msgspec.json.decode(event_of(one.headers, one.value).data) for one in waiting()]
    assert data[0]["user_id"] == "u"
    assert Decimal(str(data[1]["total"])) == order.total


# -- what is not -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_type", "data", "attributes", "told"),
    [
        ("clicks", {"user_id": 1}, {}, "clicks: /data/user_id: "),
        ("clicks", {**CLICK, "page": "\x00"}, {}, "/data/page: text must not contain the NUL"),
        ("clicks", CLICK, {"event_id": ""}, "/id: must be a text of 1 to 256"),
        ("clicks", CLICK, {"occurred_at": datetime(2026, 1, 1)}, "/time: needs a timezone"),  # noqa: DTZ001
        ("klicks", CLICK, {}, "there is no event type 'klicks'; there are: clicks, orders"),
    ],
)
def test_what_does_not_fit_is_refused_at_once_and_the_transaction_goes_on(
    engine: Engine,
    outbox: TransactionalOutbox,
    waiting: Waiting,
    event_type: str,
    data: Mapping[str, Any],
    attributes: Mapping[str, Any],
    told: str,
) -> None:
    with Session(engine) as session, session.begin():
        with pytest.raises(FlowGuardError) as raised:
            outbox.add(session, event_type, data, **attributes)
        assert told in str(raised.value)
        session.add(Invoice(id=1))
    assert waiting() == []
    assert invoices(engine) == 1


def test_an_invalid_event_is_a_value_error_with_its_faults(engine: Engine, outbox: TransactionalOutbox) -> None:
    with pytest.raises(InvalidEventError) as raised, engine.begin() as connection:
        outbox.add(connection, "clicks", {})
    assert isinstance(raised.value, ValueError)
    assert {one.pointer for one in raised.value.faults} == {
        f"/data/{name}" for name in ("user_id", "session_id", "item_id", "ad_id")
    }


def test_what_is_no_transaction_is_refused_with_what_to_give(engine: Engine, outbox: TransactionalOutbox) -> None:
    with pytest.raises(ConfigurationError, match="into a Engine: give a connection or a session"):
        outbox.add(engine, "clicks", CLICK)  # type: ignore[arg-type]

    async def main() -> None:
        async with async_engine(engine) as made, made.connect() as connection:
            outbox.add(connection, "clicks", CLICK)  # type: ignore[arg-type]

    with pytest.raises(ConfigurationError, match=r"await outbox\.add_async"):
        asyncio.run(main())
