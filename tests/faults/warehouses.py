"""Where the rows of a deployment land, looked at as anybody would look at it."""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg

from tests.e2e.pipeline import DEADLINE_S, rows_of
from tests.servers.snowflake import connected


class Warehouse(Protocol):
    """Tables of the same names and columns, whatever holds them."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, str]:
        """Of every process that is to use it."""

    @abstractmethod
    def fetch(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query that has a `?` for each value."""

    @abstractmethod
    def locked(self) -> AbstractContextManager[None]:
        """Nothing can be written there meanwhile; who tries waits."""


class SqliteWarehouse(Warehouse):
    """The embedded one, in the data folder."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def settings(self) -> Mapping[str, str]:
        return {}

    def fetch(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with rows_of(self._file) as connection:
            return connection.execute(sql, values).fetchall()

    @contextmanager
    def locked(self) -> Iterator[None]:
        with closing(sqlite3.connect(self._file, isolation_level=None, timeout=DEADLINE_S)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")


class PostgresWarehouse(Warehouse):
    """One database."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def settings(self) -> Mapping[str, str]:
        return {"sink_url": self.url}

    def fetch(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(sql.replace("?", "%s").encode(), values or None).fetchall()

    def execute(self, *statements: str) -> None:
        """What an administrator does, each statement for itself."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        with psycopg.connect(self.url) as connection:
            connection.execute("LOCK TABLE clicks IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()


class SnowflakeWarehouse(Warehouse):
    """One schema."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def settings(self) -> Mapping[str, str]:
        return {"sink_url": self.url}

    def fetch(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with connected(self.url) as connection, connection.cursor() as cursor:
            return list(cursor.execute(sql, values or None).fetchall())

    def execute(self, *statements: str) -> None:
        """What an administrator does, each statement for itself."""
        with connected(self.url) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """By somebody who has changed positions, and has not committed."""
        with connected(self.url, autocommit=False) as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE fg_positions SET epoch = epoch WHERE 1 = 1")
            yield
            cursor.execute("ROLLBACK")
