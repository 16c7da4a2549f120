"""Errors as Snowflake tells them: by number and SQLSTATE."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import snowflake.connector.errors as vendor


class StatementError(Exception):
    """A statement that failed: the answer says why."""

    def __init__(self, errno: int, sqlstate: str, message: str) -> None:
        super().__init__(f"{errno:06d} ({sqlstate}): {message}")
        self.errno, self.sqlstate, self.message = errno, sqlstate, message


class LockError(StatementError):
    """A lock was not had in time, or too many wait for it already."""

    def __init__(self, table: str, why: str) -> None:
        super().__init__(
            625, "57014", f"Another transaction has locked table '{table}'. Your statement was aborted because {why}."
        )


class CancelledError(StatementError):
    """The client did not want to wait any longer."""

    def __init__(self) -> None:
        super().__init__(604, "57014", "SQL execution canceled")


class ConflictError(Exception):
    """DuckDB's transaction met another one. Snowflake has no such error: what met is done again."""


# What DuckDB says of a value -> Snowflake's number and state.
_CONVERSIONS = (
    (r"out of range|too large|overflow", 100046, "22003"),
    (r"to BOOL", 100037, "22018"),
    (r"to (U?(TINY|SMALL|BIG|HUGE)?INT|INTEGER|DECIMAL|DOUBLE|FLOAT)", 100038, "22018"),
    (r"to DATE\b|date field value|date", 100040, "22007"),
    (r"timestamp", 100035, "22007"),
)


@contextmanager
def as_snowflake() -> Iterator[None]:
    """Raises StatementError, or ConflictError, for what DuckDB and fakesnow raise."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise CancelledError from error
    except duckdb.TransactionException as error:
        raise ConflictError(str(error)) from error
    except duckdb.ConstraintException as error:
        raise StatementError(100072, "22000", f"NULL result in a non-nullable column: {error}") from error
    except duckdb.Error as error:
        raise _of_value(str(error)) from error
    except vendor.Error as error:
        raise _of_fakesnow(error) from error
    except (StatementError, ConflictError):
        raise
    except Exception as error:  # whatever fakesnow did not expect; by HTTP 500, the connector would try again and again
        traceback.print_exc()
        why = f"the stand-in for Snowflake does not understand this ({type(error).__name__}: {error})"
        raise StatementError(1003, "42000", why) from error


def _of_fakesnow(error: vendor.Error) -> StatementError | ConflictError:
    message = error.msg or ""
    if re.search(r"write-write conflict|Conflict on", message):
        return ConflictError(message)
    if isinstance(error.__cause__, duckdb.ConversionException):
        return _of_value(str(error.__cause__))
    if re.search(r"does not have a column with name|column .* not found", message, re.IGNORECASE):
        return StatementError(904, "42000", f"invalid identifier: {message}")
    return StatementError(error.errno or 1003, error.sqlstate or "42000", message)


def _of_value(message: str) -> StatementError:
    first = message.split("\n", maxsplit=1)[0]
    if "JSON" in message:
        return StatementError(100069, "22P02", f"Error parsing JSON: {first}")
    for pattern, errno, sqlstate in _CONVERSIONS:
        if re.search(pattern, first, re.IGNORECASE):
            return StatementError(errno, sqlstate, first)
    return StatementError(100132, "P0000", first)
