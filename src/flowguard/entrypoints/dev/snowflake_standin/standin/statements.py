"""What a statement is, before it runs: its kind, the tables it reads and changes, and whether it has to lock them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from fakesnow.dialect import parse, parse_one
from fakesnow.statement_type import statement_type_id
from sqlglot import Expr, exp

Params = Sequence[object] | dict[str, object] | None

BIND = "bind_"
"""Before its number, in a name that fakesnow can read in any dialect."""


class Kind(Enum):
    """How it stands to transactions."""

    BEGIN = auto()
    COMMIT = auto()
    ROLLBACK = auto()
    DDL = auto()
    """Commits what is open, and then itself."""
    DML = auto()
    OTHER = auto()


_KINDS: dict[type[Expr], Kind] = {
    exp.Transaction: Kind.BEGIN,
    exp.Commit: Kind.COMMIT,
    exp.Rollback: Kind.ROLLBACK,
    **dict.fromkeys((exp.Create, exp.Drop, exp.Alter, exp.Comment, exp.TruncateTable), Kind.DDL),
    **dict.fromkeys((exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Copy), Kind.DML),
}
_LOCKING = (exp.Update, exp.Delete, exp.Merge, exp.Drop, exp.Alter, exp.TruncateTable)


@dataclass(frozen=True, slots=True)
class Statement:
    """One. Tables are DATABASE.SCHEMA.TABLE."""

    text: str
    sql: str
    """The text, but for what fakesnow would not understand."""
    kind: Kind
    type_id: int
    tables: frozenset[str]
    """All of them."""
    target: str | None
    """The one it changes."""
    locks: bool
    """Whether it has to have the target for itself."""
    temporary: bool
    """Whether it makes a temporary table."""
    binds: int


def split(text: str, database: str | None, schema: str | None) -> list[Statement]:
    """The statements of a request. Raises what fakesnow raises."""
    found = [one for one in parse(text) if one is not None and not isinstance(one, exp.Semicolon)]
    if len(found) == 1:
        return [_read(found[0], text, database, schema)]
    return [_read(one, one.sql(dialect="snowflake"), database, schema) for one in found]


def _read(tree: Expr, text: str, database: str | None, schema: str | None) -> Statement:
    def full(table: exp.Table) -> str:
        parts = (table.catalog or database or "", table.db or schema or "", table.name)
        return ".".join(part.upper() for part in parts)

    kind = _KINDS.get(type(tree), Kind.OTHER)
    if tree.find(exp.AlterSession) is not None or (isinstance(tree, exp.Create) and tree.kind == "STAGE"):
        kind = Kind.OTHER if isinstance(tree, exp.Alter) else Kind.DDL
    target = tree.find(exp.Table, bfs=True) if kind in {Kind.DDL, Kind.DML} else None
    if isinstance(tree.this, exp.Expr) and (named := tree.this.find(exp.Table)) is not None and target is not None:
        target = named
    return Statement(
        text=text,
        sql=_for_fakesnow(tree, text),
        kind=kind,
        type_id=statement_type_id(tree),
        tables=frozenset(full(table) for table in tree.find_all(exp.Table) if table.name),
        target=full(target) if target is not None else None,
        locks=isinstance(tree, _LOCKING) and kind is not Kind.OTHER,
        temporary=isinstance(tree, exp.Create) and tree.find(exp.TemporaryProperty) is not None,
        binds=len(list(tree.find_all(exp.Placeholder))),
    )


def _for_fakesnow(tree: Expr, text: str) -> str:
    """The text as it understands it."""
    binds = (
        [] if isinstance(tree, exp.Put) else [one for one in tree.find_all(exp.Placeholder, bfs=False) if not one.this]
    )
    if not binds and not isinstance(tree, exp.Merge):
        return text
    tree = tree.copy()
    # It rejects TABLE(FLATTEN()) within a MERGE: the same as a LATERAL FLATTEN.
    for rows in list(tree.find_all(exp.TableFromRows)) if isinstance(tree, exp.Merge) else ():
        if isinstance(rows.this, exp.Explode):
            lateral = parse_one(f"select 1 from lateral {rows.this.sql('snowflake')} {rows.alias}")
            rows.replace(lateral.args["from_"].this)
    # It doubles what a bind is in, splits statements, and moves their parts: so each bind gets its number.
    for number, bind in enumerate(_in_order(tree), start=1):
        bind.set("this", f"{BIND}{number}")
    return str(tree.sql("snowflake"))


def _in_order(tree: Expr) -> list[exp.Placeholder]:
    """The binds, as they stand in the text: found by writing it, for the tree has no order of clauses."""
    marked = {f"place_{index}": bind for index, bind in enumerate(tree.find_all(exp.Placeholder)) if not bind.this}
    for name, bind in marked.items():
        bind.set("this", name)
    return [marked[name] for name in re.findall(r":(place_\d+)\b", tree.sql("snowflake"))]
