"""What Snowflake says, told as what the caller should do about it.

Numbers: the connector's `errno`. Where a number is not known here, its SQLSTATE's class decides, and what neither
knows is tried again: nothing is blamed on a row that might be the server's fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from snowflake.connector import errors as sf

from flowguard.domain.errors import ConfigurationError, FlowGuardError, PermanentError, TransientError

_CREDENTIALS: Final = "it refuses the credentials; check user, key or token of the URL"
_MIGRATE: Final = "run `flowguard migrate`, with a role that may"

FORBIDDEN: Final = 3001
"""The role lacks a right on what it names."""

_TRANSIENT: Final[dict[int, str]] = {
    4: "it did not answer in time",
    14: "it did not answer in time",
    604: "the statement was cancelled; did it take too long (FLOWGUARD_SNOWFLAKE_QUERY_TIMEOUT_S)?",
    625: "a lock was not to be had: too many consumers, or one that vanished has it still, for 5 minutes at most",
    630: "the statement took longer than the account allows",
    90073: "its warehouse cannot be resumed",
    250001: "it cannot be reached",
    250003: "it cannot be reached",
    251011: "it cannot be reached",
    390111: "the session is gone",
    390112: "the session has expired",
    390114: "the session has expired",
    390195: "the session has expired",
}
_PERSON: Final[dict[int, str]] = {
    7: "look at the URL",
    606: "the URL names no warehouse; add ?warehouse=",
    904: _MIGRATE,
    1003: _MIGRATE,
    2003: f"there is no such table, or the role may not use it; {_MIGRATE}",
    2023: "a column has another type than FlowGuard's; " + _MIGRATE,
    2043: "there is no such object, or the role may not use it",
    FORBIDDEN: "the role may not do this; grant it what `docs/guide/snowflake.md` lists",
    90105: "there is no such database, or the role may not use it",
    90106: "there is no such schema, or the role may not use it",
    251007: "look at the URL",
    390100: _CREDENTIALS,
    390101: _CREDENTIALS,
    390102: "the user is locked out",
    390144: _CREDENTIALS,
    390189: "there is no such role, or the user may not use it",
    390201: "there is no such database, schema or warehouse, or the role may not use it",
    390303: _CREDENTIALS,
    390318: _CREDENTIALS,
    390422: "its network policy does not let this address in",
}
_PERMANENT: Final = frozenset({
    100035,  # timestamp not recognized
    100038,  # numeric value not recognized
    100039,  # numeric value out of range
    100040,  # date not recognized
    100046,  # number out of representable range
    100069,  # JSON that cannot be parsed
    100071,  # variant that cannot be cast
    100072,  # NULL in a column that takes none
    100078,  # string too long
    100082,  # maximum size of an object exceeded
    100090,  # a MERGE that would hit a row twice
    100132,  # an expression failed
    100145,  # maximum size of a variant exceeded
})  # fmt: skip
_NO_LOGIN: Final = re.compile(r"Failed to login: (?:Authentication failed\.|Login error: .*\bcode: 39\d{4}\b)")
"""The driver, of a key that it cannot read; and of what the server refused, should its number be in the text only."""
_NO_CONNECTION: Final = 250_001
_SESSION: Final = frozenset({390111, 390112, 390114, 390195})
_NOT_SERVER: Final = range(250_000, 300_000)
"""The driver's own numbers: of connections and of HTTP."""


def number_of(error: BaseException) -> int | None:
    """The `errno` of one of the connector's errors."""
    number = getattr(error, "errno", None)
    return number if isinstance(number, int) and number >= 0 else None


def translated(error: Exception, where: str) -> FlowGuardError:
    """The FlowGuard error that tells the caller what to do. `where` names the schema, without secrets."""
    number, state = number_of(error), getattr(error, "sqlstate", None) or ""
    told = _told(error)
    if _is_refused_login(number, told):
        return ConfigurationError(f"{where}: {_CREDENTIALS} ({told})")
    if number in _TRANSIENT:
        return TransientError(f"{where}: {_TRANSIENT[number]} ({told})")
    if number in _PERSON:
        return ConfigurationError(f"{where}: {_PERSON[number]} ({told})")
    if number in _PERMANENT or _is_of_data(state) or isinstance(error, sf.DataError | sf.IntegrityError):
        return PermanentError(told)
    if state.startswith(("42", "02")):
        return ConfigurationError(f"{where}: {_MIGRATE} ({told})")
    return TransientError(f"{where}: {told}")


def _is_of_data(state: str) -> bool:
    """22000 says nothing: Snowflake gives it to errors of the session, too. Those of data have their numbers above."""
    return state.startswith(("22", "23")) and state != "22000"


def breaks_session(error: BaseException) -> bool:
    """Whether the session may be unusable after it: anything that is not the server's answer to a statement."""
    number = number_of(error)
    if not isinstance(error, sf.ProgrammingError | sf.DataError | sf.IntegrityError) or number is None:
        return True
    return number in _SESSION or number in _NOT_SERVER or number in (4, 14)


def _is_refused_login(number: int | None, told: str) -> bool:
    """The driver gives some refusals the number of a broken connection. What it quotes of others is no refusal."""
    return number == _NO_CONNECTION and _NO_LOGIN.search(told) is not None


def _told(error: BaseException) -> str:
    lines = str(getattr(error, "msg", None) or error).strip().splitlines()
    text = " ".join(line.strip() for line in lines) or type(error).__name__
    text = re.sub(r"\s*\(request_id=[^)]*\)", "", text)
    text = re.sub(r"^(\d{6} \(\w{5}\): )\1+", r"\1", text)  # some are told twice by the driver
    return text.replace("private_key_password", "private_key_file_pwd")[:500]  # as the URL has it


@contextmanager
def mapped(where: str) -> Iterator[None]:
    """Raise what the connector raises inside as what `translated` makes of it."""
    try:
        yield
    except sf.Error as error:
        raise translated(error, where) from error
