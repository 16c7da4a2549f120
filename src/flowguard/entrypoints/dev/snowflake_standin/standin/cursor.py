"""fakesnow's cursor, without what Snowflake does not do."""

from __future__ import annotations

from typing import Any

from fakesnow.cursor import FakeSnowflakeCursor
from sqlglot import Expr, exp

from .statements import BIND

_KEYS = (exp.PrimaryKeyColumnConstraint, exp.UniqueColumnConstraint)


class Cursor(FakeSnowflakeCursor):
    """Standard tables of Snowflake take PRIMARY KEY and UNIQUE, and enforce neither."""

    def _execute(self, transformed: Expr, params: Any = None) -> None:
        if isinstance(transformed, exp.Create):
            table = transformed.find(exp.Table)
            if table is not None and table.name.lower() == "merge_candidates":
                # A step of its MERGE. As a CREATE of the user it would be noted in the catalog, in mid-transaction.
                self._duck_conn.execute(transformed.sql(dialect="duckdb"), _used(transformed, params))
                return
            _drop_keys(transformed)
        super()._execute(transformed, _used(transformed, params))


def _used(statement: Expr, params: Any) -> Any:
    """Of numbered binds, those that this part of a statement has: DuckDB takes no others."""
    if not isinstance(params, list):
        return params
    names = {bind.name for bind in statement.find_all(exp.Placeholder) if bind.name.startswith(BIND)}
    return {name: params[int(name.removeprefix(BIND)) - 1] for name in names} or params


def _drop_keys(create: exp.Create) -> None:
    for column in list(create.find_all(exp.ColumnConstraint)):
        if isinstance(column.kind, _KEYS):
            column.pop()
    for key in list(create.find_all(exp.PrimaryKey, exp.UniqueColumnConstraint)):
        (key.parent if isinstance(key.parent, exp.Constraint) else key).pop()
