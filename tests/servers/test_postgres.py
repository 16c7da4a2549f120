"""Databases of tests do not meet each other, and are gone afterwards."""

from __future__ import annotations

import psycopg
import pytest

from tests.servers.postgres import Postgres

pytestmark = pytest.mark.postgres


def test_each_database_is_new_and_empty(postgres: Postgres, postgres_url: str) -> None:
    other = postgres.fresh_database()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE t (x int)")
    connection = psycopg.connect(other)
    connection.execute("CREATE TABLE t (y int)")
    # It goes although somebody is connected.
    postgres.drop(other)
    connection.close()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(other)
