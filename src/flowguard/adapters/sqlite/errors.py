"""What sqlite says, told as what the caller should do about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowguard.domain.errors import ConfigurationError, FlowGuardError, PermanentError, TransientError

_PRIMARY = 0xFF
"""An extended result code holds its primary code in the low byte."""

_TRANSIENT = {
    sqlite3.SQLITE_BUSY: "another process holds its lock; is a long transaction open on it?",
    sqlite3.SQLITE_LOCKED: "another connection holds its lock",
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_READONLY: "it is read-only; check the owner and the mount of the file and of its folder",
    sqlite3.SQLITE_PERM: "access is denied; check the owner of the file and of its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check the owner of the file and of its folder",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_INTERRUPT: "the work was interrupted",
    sqlite3.SQLITE_PROTOCOL: "its lock cannot be had just now",
    sqlite3.SQLITE_SCHEMA: "its tables are being changed just now",
}
_PERSON = {
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database; name another file, or move this one away",
    sqlite3.SQLITE_CORRUPT: "it is damaged; put a backup in its place, or try `sqlite3 FILE .recover`",
    sqlite3.SQLITE_FORMAT: "it is not a SQLite database; name another file, or move this one away",
}
_PERMANENT = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH})


def code_of(error: sqlite3.Error) -> int:
    """The primary result code, or -1 where the error is the driver's own."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else code & _PRIMARY


def translated(error: sqlite3.Error, path: Path) -> FlowGuardError:
    """The FlowGuard error that tells the caller what to do."""
    code = code_of(error)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if code in _TRANSIENT:
        return TransientError(f"{path}: {_TRANSIENT[code]} ({name}: {error})")
    if code in _PERSON:
        return ConfigurationError(f"{path}: {_PERSON[code]} ({name}: {error})")
    if code in _PERMANENT:
        return PermanentError(f"{path}: {error} ({name})")
    text = str(error)
    if "no such table" in text or "no such column" in text or "has no column" in text:
        return ConfigurationError(f"{path}: {text}: run `flowguard migrate`")
    return ConfigurationError(f"{path}: {text} ({name})")


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Raise what sqlite raises inside as TransientError, PermanentError or ConfigurationError."""
    try:
        yield
    except sqlite3.Error as error:
        raise translated(error, path) from error
