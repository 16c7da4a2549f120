"""A PostgreSQL server that refuses, until somebody mends it: nothing is dead-lettered, and all goes on by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flowguard.entrypoints.cli.options import ExitCode
from flowguard.entrypoints.dev.postgres import PostgresServer
from tests.faults.conftest import ON_POSTGRES
from tests.faults.services import Deployment
from tests.faults.traffic import Traffic
from tests.faults.warehouses import PostgresWarehouse

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

GUARDED = "guarded"
LETS_IN = f"host all {GUARDED} 127.0.0.1/32 scram-sha-256\n"


@dataclass(frozen=True)
class Trouble:
    """What an administrator does, what the consumer then says, and what mends it."""

    does: str
    told: str
    undoes: str
    at_the_door: bool = False
    """It only befalls new connections: those that are open are ended."""


TROUBLES = {
    "the password is another one": Trouble(
        "ALTER ROLE {role} PASSWORD 'another'",
        "it refuses the credentials; check user and password of the URL",
        "ALTER ROLE {role} PASSWORD 'right'",
        at_the_door=True,
    ),
    "the role may not log in": Trouble(
        "ALTER ROLE {role} NOLOGIN", "it refuses the credentials", "ALTER ROLE {role} LOGIN", at_the_door=True
    ),
    "too many connections": Trouble(
        "ALTER ROLE {role} CONNECTION LIMIT 0",
        "it has no connection left; raise max_connections",
        "ALTER ROLE {role} CONNECTION LIMIT -1",
        at_the_door=True,
    ),
    "read-only": Trouble(
        "ALTER ROLE {role} SET default_transaction_read_only = on",
        "it is read-only; is this a standby?",
        "ALTER ROLE {role} RESET default_transaction_read_only",
        at_the_door=True,
    ),
    "an administrator ends the connections": Trouble("SELECT 1", "Failed: write", "SELECT 1", at_the_door=True),
    "a statement takes too long": Trouble(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(600); RETURN new; END $$;"
        " CREATE TRIGGER dawdle BEFORE INSERT ON clicks FOR EACH ROW EXECUTE FUNCTION dawdle()",
        "Failed: write",
        "DROP TRIGGER dawdle ON clicks",
    ),
    "the table is missing": Trouble(
        "ALTER TABLE clicks RENAME TO hidden", "run `flowguard migrate`", "ALTER TABLE hidden RENAME TO clicks"
    ),
    "permission is denied": Trouble(
        "REVOKE INSERT ON clicks FROM {role}",
        "grant what is missing to the user of the URL",
        "GRANT INSERT ON clicks TO {role}",
    ),
}


@dataclass(frozen=True)
class Admin:
    """Of one database; connected in another way than the consumer, with all rights."""

    warehouse: PostgresWarehouse
    names: dict[str, str]

    def does(self, statements: str) -> None:
        self.warehouse.execute(statements.format_map(self.names))

    def ends_connections(self) -> None:
        self.warehouse.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{GUARDED}'")


@pytest.fixture
def admin(mortal_server: PostgresServer, warehouse: PostgresWarehouse) -> Iterator[Admin]:
    """Beside the role `guarded`, that needs the password `right` and owns all tables."""
    access = mortal_server.data / "pg_hba.conf"
    before = access.read_text("utf-8")
    access.write_text(LETS_IN + before, "utf-8")
    database = urlsplit(warehouse.url).path.removeprefix("/")
    by_socket = mortal_server.superuser_url.replace("@/flowguard?", f"@/{database}?")
    admin = Admin(PostgresWarehouse(by_socket), {"role": GUARDED, "database": database})
    admin.warehouse.execute(
        "SELECT pg_reload_conf()",
        f"CREATE ROLE {GUARDED} LOGIN PASSWORD 'right'",
        f"ALTER DATABASE {database} OWNER TO {GUARDED}",
    )
    yield admin
    admin.ends_connections()
    admin.warehouse.execute(
        f"REASSIGN OWNED BY {GUARDED} TO flowguard", f"DROP OWNED BY {GUARDED}", f"DROP ROLE {GUARDED}"
    )
    access.write_text(before, "utf-8")


@pytest.fixture
def guarded(tmp_path: Path, warehouse: PostgresWarehouse, admin: Admin) -> Iterator[Deployment]:
    """The tables are there, and nothing runs yet."""
    url = warehouse.url.replace("://flowguard@", f"://{GUARDED}:right@")
    with Deployment(tmp_path, PostgresWarehouse(url), **ON_POSTGRES) as deployment:
        yield deployment


def test_refused_until_it_is_mended(guarded: Deployment, admin: Admin) -> None:
    consumer = guarded.consumer("consumer")
    with Traffic(guarded.gateway()) as traffic:
        for name, trouble in TROUBLES.items():
            guarded.wait_more(50)
            told, failed = (consumer.said.count(text) for text in (trouble.told, "Failed: "))
            admin.does(trouble.does)
            if trouble.at_the_door:
                admin.ends_connections()
            consumer.wait_said(trouble.told, times=told + 1)
            assert consumer.said.count("Failed: ") > failed, name
            admin.does(trouble.undoes)
        guarded.wait_more(50)
        guarded.settle(traffic)
    assert "right" not in consumer.output
    assert "Dead-lettered" not in consumer.output


def test_a_table_that_somebody_locks_for_long(pipeline: Deployment, warehouse: PostgresWarehouse) -> None:
    consumer = pipeline.consumer("consumer")
    with Traffic(pipeline.gateway()) as traffic:
        pipeline.wait_more(50)
        with warehouse.locked():
            consumer.wait_said("a lock was not to be had; is a long transaction open on it?", times=2)
        pipeline.wait_more(50)
        pipeline.settle(traffic)


def test_it_does_not_start_without_its_table_and_says_what_to_do(
    pipeline: Deployment, warehouse: PostgresWarehouse
) -> None:
    warehouse.execute("ALTER TABLE clicks RENAME TO hidden")
    told = pipeline.run("consume")
    assert told.returncode == ExitCode.CONFIGURATION
    assert told.stderr.strip().splitlines()[-1].endswith("run `flowguard migrate` (42P01)")
    assert "right" not in told.stderr
