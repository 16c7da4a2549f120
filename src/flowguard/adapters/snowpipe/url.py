"""How a schema is named by a URL, and what the streaming client is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from flowguard.domain.errors import ConfigurationError

_FORM: Final = "write snowpipe://user@account/database/schema?private_key_file=/path/to/key.p8&role=ROLE"
_CLIENT: Final = ("private_key_file", "private_key_passphrase", "role", "host", "port")
_OURS: Final = ("commit_timeout_s", "mended_until")
COMMIT_TIMEOUT_S: Final = 60.0
_PATIENCE: Final = {"mgmt_http_timeout_seconds": "10", "mgmt_retry_total_backoff_seconds": "10"}
"""The client tries again by itself, for minutes; here the consumer does that, and says so."""


@dataclass(frozen=True)
class SnowpipeUrl:
    """One schema of one account.

    `properties` are the streaming client's own, with secrets. `commit_timeout_s`: how long a write waits for the commit
    of its rows. `mended_until`: rows that Snowflake left out up to then were seen to by a person.
    """

    where: str
    """In messages, without user and secrets."""
    database: str
    schema: str
    properties: dict[str, str] = field(repr=False)
    commit_timeout_s: float = COMMIT_TIMEOUT_S
    mended_until: datetime | None = None


def url_of(text: str) -> SnowpipeUrl:
    """`snowpipe://user@account/database/schema?private_key_file=F&role=R`. Raises ConfigurationError for others."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise ConfigurationError(f"the text names no Snowflake schema: {_FORM}") from error
    path = [unquote(part) for part in url.path.split("/") if part]
    if url.scheme != "snowpipe" or not url.hostname or not url.username or len(path) != 2 or port:  # noqa: PLR2004
        raise ConfigurationError(f"snowpipe://{url.hostname or ''}{url.path} names no Snowflake schema: {_FORM}")
    where = f"snowpipe://{url.hostname}/{path[0]}/{path[1]}"
    given = dict(parse_qsl(url.query, keep_blank_values=True))
    if unknown := sorted(given.keys() - {*_CLIENT, *_OURS}):
        known = ", ".join((*_CLIENT, *_OURS))
        raise ConfigurationError(f"{where}: {', '.join(unknown)} is not known in the URL; known are {known}")
    file = Path(given.get("private_key_file", "")).expanduser()
    if not given.get("private_key_file") or not file.is_file():
        there = f"there is no file {file} (private_key_file)" if given.get("private_key_file") else _FORM
        raise ConfigurationError(f"{where}: Snowpipe Streaming wants a key pair: {there}")
    properties = {
        "user": unquote(url.username),
        "account": url.hostname,
        "host": f"{url.hostname}.snowflakecomputing.com",
        "scheme": "https",
        "port": "443",
        **_PATIENCE,
        **{name: value for name, value in given.items() if name in _CLIENT},
        "private_key_file": str(file),
    }
    return SnowpipeUrl(where, path[0], path[1], properties, _timeout(where, given), _mended(where, given))


def _timeout(where: str, given: dict[str, str]) -> float:
    text = given.get("commit_timeout_s", str(COMMIT_TIMEOUT_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ConfigurationError(f"{where}: commit_timeout_s is {text!r}, and a number of seconds above 0 is needed")
    return seconds


def _mended(where: str, given: dict[str, str]) -> datetime | None:
    text = given.get("mended_until")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{where}: mended_until is {text!r}; write a time in UTC as 2026-01-31T12:00:00Z"
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
