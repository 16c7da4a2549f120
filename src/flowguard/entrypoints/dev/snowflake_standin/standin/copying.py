"""COPY of JSON as Snowflake does it: each value of a file is a row, even where an array is all that there is."""

from __future__ import annotations

from fakesnow import copy_into
from sqlglot import Expr, exp


class _ReadJson(copy_into.ReadJSON):
    """Without a format, DuckDB takes a single array for a list of rows."""

    def read_expression(self, url: str) -> Expr:
        format_ = exp.EQ(this=exp.column("format"), expression=exp.Literal.string("newline_delimited"))
        return exp.func("read_json_objects", exp.Literal.string(url), format_)


def install() -> None:
    """Have fakesnow read JSON so."""
    copy_into.ReadJSON = _ReadJson
