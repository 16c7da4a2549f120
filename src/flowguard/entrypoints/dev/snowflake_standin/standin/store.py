"""The one DuckDB of the server, with a file for each database."""

from __future__ import annotations

import threading
from pathlib import Path

import duckdb
from fakesnow import info_schema, macros
from fakesnow.instance import FakeSnow

from . import copying
from .settings import Settings


class Store:
    """Made once a process: DuckDB lets one process open a file."""

    def __init__(self, settings: Settings) -> None:
        copying.install()
        self._folder: Path = settings.data
        self._lock = threading.Lock()
        self._root = FakeSnow(db_path=self._folder).duck_conn
        self._root.execute(f"SET GLOBAL memory_limit='{settings.memory_limit}'; SET GLOBAL threads={settings.threads}")
        names = {file.stem for file in self._folder.glob("*.db")} | {settings.database}
        for name in sorted(names):
            self._root.execute(f"ATTACH DATABASE '{self._folder / name}.db' AS {name}")
            self._root.execute(info_schema.per_db_creation_sql(name))
            self._root.execute(macros.creation_sql(name))
        self._root.execute(f"CREATE SCHEMA IF NOT EXISTS {settings.database}.{settings.schema}")

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Another connection to it."""
        with self._lock:
            return self._root.cursor()
