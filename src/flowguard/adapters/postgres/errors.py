"""What PostgreSQL says, told as what the caller should do about it. Codes: PostgreSQL's appendix A (SQLSTATE)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from flowguard.domain.errors import ConfigurationError, FlowGuardError, PermanentError, TransientError

_CREDENTIALS: Final = "it refuses the credentials; check user and password of the URL, and pg_hba.conf of the server"
_MIGRATE: Final = "run `flowguard migrate`"

_TRANSIENT: Final[dict[str, str]] = {
    # Classes of two characters, or whole codes. The longest that fits is taken.
    "08": "the connection is broken",
    "25006": "it is read-only; is this a standby?",
    "28": _CREDENTIALS,
    "40": "it gave way to another transaction",
    "53": "it lacks something",
    "53100": "its disk is full; free some space there",
    "53300": "it has no connection left; raise max_connections, or have fewer consumers",
    "55006": "something is in use",
    "55P03": "a lock was not to be had; is a long transaction open on it?",
    "57": "somebody intervened",
    "57014": "it took longer than allowed (FLOWGUARD_DATABASE_TIMEOUT_S); is it busy, or waiting for a lock?",
    "57P01": "it shuts down, or somebody ended the connection",
    "57P02": "it crashed, and comes back",
    "57P03": "it cannot take connections yet",
    "58": "it cannot use its disk",
    "F0": "its configuration file is at fault",
    "XX": "it reports an internal error",
}
_PERSON: Final[dict[str, str]] = {
    "0A": "it cannot do this; is a view in the way? (PostgreSQL 13 or newer is needed)",
    "3D": "there is no such database; create it",
    "3F": "there is no such schema; create it",
    "42501": "permission is denied; grant what is missing to the user of the URL",
    "42P01": _MIGRATE,
    "42703": _MIGRATE,
    "42P16": "our rows have no value for it: give the column a default, or the table another primary key",
    "42": _MIGRATE,
    "55000": "its definition does not allow this; is a unique constraint DEFERRABLE?",
}
_REFUSALS: Final = (
    # Of a connection that the server refused, the driver knows only the words. The code that the server gave with them:
    ("password|authentication failed|no pg_hba.conf entry|role .* (does not exist|is not permitted)", "28000"),
    ('database ".*" does not exist', "3D000"),
    ("permission denied", "42501"),
    ("too many (connections|clients)|connection slots", "53300"),
    ("starting up|shutting down|recovery mode|not yet accepting", "57P03"),
)
_PERMANENT: Final = ("09", "21", "22", "23", "27", "44", "54", "P0")
"""Data and constraints, and what triggers raise: the rows are at fault."""


def state_of(error: BaseException) -> str | None:
    """The SQLSTATE, or None where it is the driver's own error (a broken connection, most often)."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return getattr(original, "sqlstate", None)


def _told(error: BaseException) -> str:
    original = error.orig if isinstance(error, DBAPIError) else error
    first = str(original).strip().splitlines()
    return first[0] if first else type(original).__name__


def translated(error: Exception, where: str) -> FlowGuardError:
    """The FlowGuard error that tells the caller what to do. `where` names the database, without secrets."""
    state, told = state_of(error) or _refusal(error), _told(error)
    if state is None:
        return _without_state(error, where, told)
    for length in (5, 2):
        key = state[:length]
        if key in _TRANSIENT:
            return TransientError(f"{where}: {_TRANSIENT[key]} ({state}: {told})")
        if key in _PERSON:
            return ConfigurationError(f"{where}: {told}: {_PERSON[key]} ({state})")
    if state.startswith(_PERMANENT):
        return PermanentError(f"{told} ({state})")
    return TransientError(f"{where}: {told} ({state})")


def _refusal(error: BaseException) -> str | None:
    original = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(original, psycopg.OperationalError):
        return None
    return next((state for words, state in _REFUSALS if re.search(words, str(original))), None)


def _without_state(error: Exception, where: str, told: str) -> FlowGuardError:
    """The driver's own errors."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(original, psycopg.DataError):
        return PermanentError(told)  # it would not even send it
    if isinstance(original, psycopg.ProgrammingError):
        return ConfigurationError(f"{where}: {told}")
    return TransientError(f"{where}: it cannot be reached, or the connection broke ({told})")


@contextmanager
def mapped(where: str) -> Iterator[None]:
    """Raise what PostgreSQL, its driver or SQLAlchemy raise inside as what `translated` makes of it."""
    try:
        yield
    except (psycopg.Error, SQLAlchemyError) as error:
        raise translated(error, where) from error
