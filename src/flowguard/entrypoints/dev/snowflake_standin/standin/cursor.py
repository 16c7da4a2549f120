"""fakesnow's cursor, without what Snowflake does not do."""

from __future__ import annotations

from typing import Any

from fakesnow.cursor import FakeSnowflakeCursor
from sqlglot import Expr, exp

_KEYS = (exp.PrimaryKeyColumnConstraint, exp.UniqueColumnConstraint)


class Cursor(FakeSnowflakeCursor):
    """Standard tables of Snowflake take PRIMARY KEY and UNIQUE, and enforce neither."""

    def _execute(self, transformed: Expr, params: Any = None) -> None:
        if isinstance(transformed, exp.Create):
            table = transformed.find(exp.Table)
            if table is not None and table.name.lower() == "merge_candidates":
                # A step of its MERGE. As a CREATE of the user it would be noted in the catalog, in mid-transaction.
                self._duck_conn.execute(transformed.sql(dialect="duckdb"), params)
                return
            _drop_keys(transformed)
        super()._execute(transformed, params)


def _drop_keys(create: exp.Create) -> None:
    for column in list(create.find_all(exp.ColumnConstraint)):
        if isinstance(column.kind, _KEYS):
            column.pop()
    for key in list(create.find_all(exp.PrimaryKey, exp.UniqueColumnConstraint)):
        (key.parent if isinstance(key.parent, exp.Constraint) else key).pop()
