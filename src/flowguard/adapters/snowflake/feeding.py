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

from flowguard.adapters.snowflake.database import STAGE, STAGED, Session
from flowguard.adapters.snowflake.documents import array_of
from flowguard.adapters.snowflake.tables import literal
from flowguard.domain.errors import TransientError

MOST_BYTES: Final = 900_000
"""Of a statement with what is bound to it; Snowflake recommends to stay below 1 MB."""
_ROWS_LOADED: Final = 3
"""Which column of what COPY tells of a file; of no file it tells less."""


@dataclass(frozen=True, slots=True)
class Feed:
    """`source` is what a statement selects from: rows `s` with one column `v`; `binds` are its parameters."""

    source: str
    binds: tuple[str, ...]


def is_large(documents: Sequence[bytes]) -> bool:
    """Whether they take the way by a file."""
    return sum(map(len, documents)) + len(documents) > MOST_BYTES


@contextmanager
def fed(session: Session, documents: Sequence[bytes]) -> Iterator[Feed]:
    """The documents as a source, for one statement or several, inside of a transaction (a `staged` one, if large).

    By a file that takes three statements more, whatever its size: PUT, COPY, which removes the file, and DELETE. Raises
    TransientError where COPY did not load each of them.
    """
    if not is_large(documents):
        yield Feed("(SELECT f.value AS v FROM TABLE(FLATTEN(input => PARSE_JSON(?))) f) AS s", (array_of(documents),))
        return
    name = f"{uuid.uuid4().hex}.json.gz"
    with tempfile.TemporaryDirectory(prefix="flowguard-") as folder:
        file = Path(folder) / name
        file.write_bytes(gzip.compress(b"".join(b'{"v":%s}\n' % one for one in documents), compresslevel=1))
        session.change(f"PUT {literal(f'file://{file}')} @{STAGE} AUTO_COMPRESS=FALSE")
    # An object a line: an array alone in its file might be taken for the rows.
    copied = session.rows(f"COPY INTO {STAGED} FROM @{STAGE}/{name} FILE_FORMAT=(TYPE=JSON) PURGE=TRUE")
    loaded = sum(int(file[_ROWS_LOADED]) for file in copied if len(file) > _ROWS_LOADED)
    if loaded != len(documents):
        raise TransientError(f"COPY has loaded {loaded} of the {len(documents)} rows of a file; all are undone")
    yield Feed(f"(SELECT GET(V, 'v') AS v FROM {STAGED}) AS s", ())
    session.change(f"DELETE FROM {STAGED}")
