"""How a Snowflake schema is named by a URL, and what the connector is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from flowguard.domain.errors import ConfigurationError

_FORM: Final = (
    "write snowflake://user@account/database/schema?warehouse=WAREHOUSE&role=ROLE&private_key_file=/path/to/key.p8"
)
_PARAMETERS: Final = (
    "authenticator",
    "host",
    "port",
    "private_key_file",
    "private_key_file_pwd",
    "protocol",
    "role",
    "token",
    "warehouse",
)

_SECRETS: Final = ("private_key_file_pwd", "token")


@dataclass(frozen=True)
class SnowflakeUrl:
    """One schema of one account. `options` are the connector's own parameters, with secrets."""

    where: str
    """In messages, without user and secrets."""
    database: str
    schema: str
    options: dict[str, Any] = field(repr=False)


def url_of(text: str) -> SnowflakeUrl:
    """`snowflake://user@account/database/schema?warehouse=W&role=R&private_key_file=F`.

    Who it is: `private_key_file` (with `private_key_file_pwd` where it is encrypted), or `token`, or a password behind
    the user. `host`, `port` and `protocol` are for a server elsewhere than at Snowflake. Raises ConfigurationError for
    any other text.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(f"the text names no Snowflake schema: {_FORM}") from error
    path = [part for part in (url.database or "").split("/") if part]
    if "@" in (url.host or ""):
        raise ConfigurationError(f"snowflake://...: write @ in the password as %40; {_FORM}")
    if url.drivername != "snowflake" or not url.host or not url.username or len(path) != 2:  # noqa: PLR2004
        where = f"snowflake://{url.host or ''}/{url.database or ''}"
        raise ConfigurationError(f"{where} names no Snowflake schema: {_FORM}")
    database, schema = path
    given = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    where = f"snowflake://{url.host}/{database}/{schema}"
    _require_known(where, list(given))
    options: dict[str, Any] = {
        "account": url.host, "user": url.username, "database": database, "schema": schema, **given
    }  # fmt: skip
    if "port" in given:
        if not given["port"].isdecimal():
            raise ConfigurationError(f"{where}: port is {given['port']!r}, and a number is needed")
        options["port"] = int(given["port"])
    if "private_key_file_pwd" in options:  # as the connector calls it today
        options["private_key_password"] = options.pop("private_key_file_pwd")
    if url.password:
        options["password"] = str(url.password)
    _identify(where, options)
    return SnowflakeUrl(where, database, schema, options)


def _require_known(where: str, given: list[str]) -> None:
    """Raise ConfigurationError for a parameter that is not known. Behind a secret, its name may be a piece of that."""
    secret = None
    for name in given:
        if name not in _PARAMETERS:
            told = f"{name} is not known in the URL"
            if secret is not None:
                told = f"a parameter behind {secret} is not known in the URL (in a secret, write & as %26 and + as %2B)"
            raise ConfigurationError(f"{where}: {told}; known are {', '.join(_PARAMETERS)}")
        secret = name if name in _SECRETS else secret


def _identify(where: str, options: dict[str, Any]) -> None:
    """Choose how to log in by what is there: a key pair first, then a token, then a password."""
    if file := options.get("private_key_file"):
        if not Path(file).expanduser().is_file():
            raise ConfigurationError(f"{where}: there is no file {file} (private_key_file)")
        options["private_key_file"] = str(Path(file).expanduser())
        options.setdefault("authenticator", "SNOWFLAKE_JWT")
    elif "token" in options:
        options.setdefault("authenticator", "PROGRAMMATIC_ACCESS_TOKEN")
    elif "password" not in options and "authenticator" not in options:
        raise ConfigurationError(f"{where}: the URL says who, but not how to prove it: add private_key_file or token")
