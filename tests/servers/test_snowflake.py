"""Schemas of tests do not meet each other, and are gone afterwards."""

from __future__ import annotations

import pytest
from snowflake.connector.errors import ProgrammingError

from tests.servers.snowflake import Snowflake, connected

pytestmark = pytest.mark.snowflake


def test_each_schema_is_new_and_empty(snowflake: Snowflake, snowflake_url: str) -> None:
    other = snowflake.fresh_schema()
    with connected(snowflake_url) as connection:
        connection.cursor().execute("CREATE TABLE t (x int)")
    with connected(other) as connection:
        connection.cursor().execute("CREATE TABLE t (y int)")
        snowflake.drop(other)
        with pytest.raises(ProgrammingError):
            connection.cursor().execute("SELECT * FROM t")
