"""Documents as the source of a statement: bound to it, or through a file where they are too large for that."""

from __future__ import annotations

import gzip
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowguard.adapters.snowflake.database import Database, Session
from flowguard.adapters.snowflake.documents import array_of

MOST_BYTES: Final = 900_000
"""Of a statement with what is bound to it; Snowflake recommends to stay below 1 MB."""

_STAGE: Final = "FG_FILES"
_TABLE: Final = "FG_STAGED"


@dataclass(frozen=True, slots=True)
class Feed:
    """`source` is what a statement selects from: rows `s` with one column `v`; `binds` are its parameters."""

    source: str
    binds: tuple[str, ...]


def is_large(documents: Sequence[bytes]) -> bool:
    """Whether they take the way by a file."""
    return sum(map(len, documents)) + len(documents) > MOST_BYTES


def prepare(database: Database, session: Session) -> None:
    """Make what the way by a file needs, once a connection; before the transaction, because this would commit it.

    Both are temporary: they go when the session does, and need no right to create tables.
    """
    if database.staged:
        return
    session.change(f"CREATE TEMPORARY TABLE IF NOT EXISTS {_TABLE} (V VARIANT)")
    session.change(f"CREATE TEMPORARY STAGE IF NOT EXISTS {_STAGE}")
    database.staged = True


@contextmanager
def fed(session: Session, documents: Sequence[bytes]) -> Iterator[Feed]:
    """The documents as a source, for one statement or several, inside of a transaction.

    By a file that takes three statements more, whatever its size: PUT, COPY, which removes the file, and DELETE.
    """
    if not is_large(documents):
        yield Feed("(SELECT f.value AS v FROM TABLE(FLATTEN(input => PARSE_JSON(?))) f) AS s", (array_of(documents),))
        return
    name = f"{uuid.uuid4().hex}.json.gz"
    with tempfile.TemporaryDirectory(prefix="flowguard-") as folder:
        file = Path(folder) / name
        file.write_bytes(gzip.compress(b"\n".join(documents), compresslevel=1))
        session.change(f"PUT file://{file} @{_STAGE} AUTO_COMPRESS=FALSE")
    session.change(f"COPY INTO {_TABLE} FROM @{_STAGE}/{name} FILE_FORMAT=(TYPE=JSON) PURGE=TRUE")
    yield Feed(f"(SELECT V AS v FROM {_TABLE}) AS s", ())
    session.change(f"DELETE FROM {_TABLE}")
