from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from flowguard.adapters.postgres import PostgresEventSink
from flowguard.domain.catalog import SchemaContract
from flowguard.domain.errors import ConfigurationError, PermanentError
from flowguard.domain.rows import Merged
from flowguard.domain.telemetry import ColumnsAdded
from flowguard.entrypoints.dev.postgres import PostgresServer
from tests.adapters.postgres.storage import PostgresStorage
from tests.contracts.schema import GROWN, OLD, SchemaContractCase, bookings, claim, stored, users, write
from tests.servers.postgres import QUICK, running_postgres

pytestmark = pytest.mark.postgres


@pytest.fixture
def storage(postgres_url: str) -> Iterator[PostgresStorage]:
    storage = PostgresStorage(postgres_url)
    yield storage
    storage.close()


class TestPostgresSchemaContracts(SchemaContractCase):
    @pytest.fixture
    def storage(self, storage: PostgresStorage) -> PostgresStorage:
        return storage


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """With a role `writer`, which only a superuser may make."""
    with running_postgres(tmp_path_factory.mktemp("roles"), QUICK) as server:
        with closing(psycopg.connect(server.superuser_url, autocommit=True)) as connection:
            connection.execute("CREATE ROLE writer LOGIN")
        yield server


class TestWithoutDdlRights:
    """The consumer's role may write rows, and change no table."""

    @pytest.fixture
    def storage(self, server: PostgresServer) -> Iterator[PostgresStorage]:
        storage = PostgresStorage(server.socket_url)
        storage.execute("DROP TABLE IF EXISTS bookings")
        storage.migrate(OLD)
        storage.execute("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO writer")
        storage.execute("GRANT UPDATE ON fg_positions, fg_incarnations, fg_absorbed TO writer")
        yield storage
        storage.close()

    @pytest.fixture
    def writer(self, server: PostgresServer) -> str:
        return server.socket_url.replace("flowguard@", "writer@")

    def test_evolve_says_who_has_to_migrate_and_goes_on_when_that_is_done(
        self, storage: PostgresStorage, writer: str
    ) -> None:
        told = "table bookings lacks hotel, nights, and the user of the URL may not add columns.*`flowguard migrate`"
        with closing(PostgresEventSink(writer, [GROWN])) as sink:
            with pytest.raises(ConfigurationError, match=told):
                sink.check()
            ours = claim(sink)
            with pytest.raises(ConfigurationError, match=told):
                write(sink, bookings(("u0", 3)), ours)
            storage.migrate(GROWN)
            sink.check()
            report = write(sink, bookings(("u0", 3)), ours)
        assert (report.merged, report.told) == ({"bookings": Merged(1, 0)}, ())
        assert stored(storage.ledger()) == [("u0", 3, None)]

    def test_the_other_contracts_need_no_such_rights(self, storage: PostgresStorage, writer: str) -> None:
        with closing(PostgresEventSink(writer, [GROWN], schema_contract=SchemaContract.FREEZE)) as sink:
            sink.check()
            with pytest.raises(PermanentError):
                write(sink, bookings(("u0", 3)), None)
        with closing(PostgresEventSink(writer, [GROWN], schema_contract=SchemaContract.DISCARD_VALUE)) as sink:
            sink.check()
            write(sink, bookings(("u0", 3)), None)
        assert users(storage.ledger()) == ["u0"]


def test_columns_that_were_added_are_told_although_the_first_write_fails(storage: PostgresStorage) -> None:
    storage.migrate(OLD)
    sink = storage.sink_with(SchemaContract.EVOLVE)
    with pytest.raises(PermanentError):
        write(sink, bookings(("u0", 2**70)), None)
    assert write(sink, bookings(("u0", 3)), None).told == (ColumnsAdded("bookings", ("hotel", "nights")),)
    assert write(sink, bookings(("u1", 3), first=1), None).told == ()


def test_a_column_of_another_type_is_for_a_person_to_mend_and_costs_no_row(storage: PostgresStorage) -> None:
    storage.migrate(GROWN)
    sink = storage.sink_with(SchemaContract.EVOLVE)
    ours = claim(sink)
    write(sink, bookings(("u0", 1)), ours)
    storage.execute("ALTER TABLE bookings ALTER COLUMN nights TYPE integer")
    with pytest.raises(ConfigurationError, match="column nights of table bookings is integer, and bigint is needed"):
        write(sink, bookings(("u1", 7), first=1), ours, 1)
    storage.migrate(GROWN)
    write(sink, bookings(("u1", 7), first=1), ours, 1)
    assert stored(storage.ledger()) == [("u0", 1, None), ("u1", 7, None)]


def test_a_type_that_cannot_hold_the_same_is_refused_by_the_migration(storage: PostgresStorage) -> None:
    storage.migrate(GROWN)
    storage.execute("ALTER TABLE bookings ALTER COLUMN nights TYPE numeric(9, 2)")
    with pytest.raises(ConfigurationError, match=r"nights of table bookings is numeric\(9,2\), .* a new name"):
        storage.migrate(GROWN)
    storage.execute("ALTER TABLE bookings DROP nights, ALTER COLUMN schema_version TYPE text")
    with pytest.raises(
        ConfigurationError, match=r"schema_version of table bookings is text, .* rename the one that is there"
    ):
        storage.migrate(GROWN)
