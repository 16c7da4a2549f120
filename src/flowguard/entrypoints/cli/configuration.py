"""The settings of a command, where each comes from, and the container made of them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from flowguard.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from flowguard.container import Container
    from flowguard.settings import Settings

TOML = "flowguard.toml"
PREFIX = "FLOWGUARD_"
NO_SETTINGS = frozenset(
    f"FLOWGUARD_{name}"
    for name in ("TRACEBACK", "REQUIRE", "WORKER", "KAFKA_JARS", "POSTGRES_BIN", "TEST_KAFKA_URL", "TEST_POSTGRES_URL")
)
"""Variables with our prefix that are none: for bugs, workers, `flowguard dev`, and the project's own tests."""

Flags = Mapping[str, Path | str | int | None]
"""What the command line gave, by name of the setting; None where a flag was not given."""


def settings_of(flags: Flags) -> Settings:
    """Flags, then environment, then flowguard.toml, then defaults. Raises ConfigurationError in one line."""
    from pydantic import ValidationError
    from pydantic_settings.exceptions import SettingsError

    from flowguard.settings import Settings

    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # checked by pydantic
    except ValidationError as error:
        raise ConfigurationError(_first_fault(error, given)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{TOML} is no TOML: {error}") from error
    except SettingsError as error:
        raise ConfigurationError(f'{error} (write JSON, for example ["https://shop.example"])') from error
    except OSError as error:
        raise ConfigurationError(f"{TOML} cannot be read: {error.strerror}") from error


def folder_for(server: str, data_dir: Path | None) -> Path:
    """Where `flowguard dev` keeps this server. Raises ConfigurationError."""
    return (settings_of({"data_dir": data_dir}).data_dir / server).absolute()


@contextmanager
def container_of(flags: Flags) -> Iterator[Container]:
    """A container of these settings; what it made is closed at the end. Raises ConfigurationError."""
    settings = settings_of(flags)
    from flowguard.container import Container

    container = Container(settings=settings)
    with container.closing():
        yield container


@contextmanager
def looking_from_outside(flags: Flags) -> Iterator[Container]:
    """As `container_of`, for commands that look at what another process keeps. Raises ConfigurationError."""
    with container_of(flags) as container:
        refuse_memory(container.settings(), "look at its page, or at http://HOST:PORT/v1/status")
        yield container


def refuse_memory(settings: Settings, instead: str) -> None:
    """Raise ConfigurationError where what several processes share is kept in the memory of one only."""
    from flowguard.settings import scheme_of

    for name, url in urls_of(settings).items():
        if name != "orders_url" and scheme_of(url) == "memory":
            raise ConfigurationError(f"{name}: {url} lives and ends inside the process of `flowguard up`: {instead}")


def sqlite_file(url: str) -> Path | None:
    """The file that a sqlite:/// URL names; None for any other."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def urls_of(settings: Settings) -> dict[str, str]:
    """The URLs in force, by name of their settings."""
    return {
        "log_url": settings.effective_log_url,
        "sink_url": settings.effective_sink_url,
        "dead_letter_url": settings.effective_dead_letter_url,
        **({"orders_url": settings.orders_url} if settings.orders_url else {}),
    }


# -- where a value comes from ----------------------------------------------------------------------------------------


def in_force(settings: Settings, flags: Flags) -> list[tuple[str, object, str]]:
    """(name, value with its secrets hidden, where it comes from) of every setting; nested names have a dot."""
    toml = _toml()
    derived = urls_of(settings)
    found: list[tuple[str, object, str]] = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Mapping):
            for inner, text in value.items():
                shown = "***" if _is_secret(inner) else text
                found.append((f"{name}.{inner}", shown, origin((name, inner.replace(".", "_")), flags, toml)))
        elif is_dataclass(value):
            for each in fields(value):
                path = (name, each.name)
                found.append((".".join(path), getattr(value, each.name), origin(path, flags, toml)))
        else:
            found.append((name, _shown(derived.get(name, value)), origin((name,), flags, toml)))
    return found


def origin(path: tuple[str, ...], flags: Flags, toml: Mapping[str, object]) -> str:
    """Where the value of a setting comes from, as a person would look for it."""
    if flags.get(path[0]) is not None:
        return f"--{path[0].replace('_', '-')}"
    names = sorted(name.upper() for name in os.environ)
    inner = PREFIX + "__".join((*path, "")).upper()
    if parts := [name for name in names if name.startswith(inner)]:
        return parts[0]
    for depth in range(len(path), 0, -1):
        variable = PREFIX + "__".join(path[:depth]).upper()
        if variable in names:
            return variable
    level: object = toml
    for step in path:
        if not isinstance(level, Mapping) or step not in level:
            return "default"
        level = level[step]
    return TOML


def unknown_variables(settings: Settings) -> list[str]:
    """FLOWGUARD_* variables of the environment that no setting has: most often misspelt."""
    known = {name.upper() for name in type(settings).model_fields}
    ours = (name for name in os.environ if name.upper().startswith(PREFIX) and name not in NO_SETTINGS)
    return sorted(name for name in ours if name.upper().removeprefix(PREFIX).split("__")[0] not in known)


def without_secrets(url: str) -> str:
    """The URL as it may be shown: passwords, and what looks like one among its parameters, as ***."""
    parts = urlsplit(url)
    if parts.query:
        shown = "&".join(f"{name}={'***' if _is_secret(name) else value}" for name, value in parse_qsl(parts.query))
        url = urlunsplit(parts._replace(query=shown))
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in ("pass", "secret", "token", "key", "credential", "sasl"))


def _shown(value: object) -> object:
    if isinstance(value, str) and "://" in value:
        return without_secrets(value)
    return str(value) if isinstance(value, Path) else value


def _toml() -> Mapping[str, object]:
    try:
        return tomllib.loads(Path(TOML).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}


def _first_fault(error: ValidationError, flags: Flags) -> str:
    faults = error.errors(include_url=False)
    first = faults[0]
    path = tuple(str(step) for step in first["loc"]) or ("settings",)
    place = origin(path, flags, _toml())
    message = first["msg"].removeprefix("Value error, ")
    secret = first["type"] == "extra_forbidden" or any(map(_is_secret, path))
    given = "" if secret else f" (given: {first['input']!r})"
    more = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
    return f"{'.'.join(path)} from {place}: {message}{given}{more}"
