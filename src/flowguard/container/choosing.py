"""Which adapter a URL asks for, and closing it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Protocol, TypeVar

from flowguard.domain.catalog import Catalog
from flowguard.domain.errors import ConfigurationError
from flowguard.settings import scheme_of

EMBEDDED = ("sqlite", "memory")
_LOGS = ("log_url", "dead_letter_url")
_SINKS = ("sink_url", "dead_letter_url")
_TAKEN = {"kafka": _LOGS, "postgresql": _SINKS, "snowflake": _SINKS}
"""Schemes beside the embedded ones, and the settings that take them."""
_KNOWN = {
    "sqlite": "sqlite:///folder/file.db",
    "memory": "memory://",
    "kafka": "kafka://host:9092",
    "postgresql": "postgresql://user@host:5432/database",
    "snowflake": "snowflake://user@account/database/schema",
}
_ORDERS = ("memory", "postgresql")
"""Where orders can live: in what has transactions that others can take part in."""


class _Closeable(Protocol):
    def close(self) -> None: ...


_Adapter = TypeVar("_Adapter", bound=_Closeable)


def scheme_in_force(url: str, setting: str) -> str:
    """The adapter that the URL of this setting asks for. Raises ConfigurationError where there is none."""
    scheme = scheme_of(url)
    if scheme in EMBEDDED or setting in _TAKEN.get(scheme, ()):
        return scheme
    known = " or ".join(text for name, text in _KNOWN.items() if name in EMBEDDED or setting in _TAKEN[name])
    raise ConfigurationError(f"{setting}: nothing here speaks {scheme or url!r}://; use {known}")


def order_scheme(url: str) -> str:
    """The adapter that orders_url asks for. Raises ConfigurationError where there is none."""
    scheme = scheme_of(url)
    if scheme not in _ORDERS:
        what = f"nothing here keeps orders in {scheme or url!r}://" if url else "it is empty"
        raise ConfigurationError(
            f"orders_url: {what}; use {' or '.join(_KNOWN[one] for one in _ORDERS)} (FLOWGUARD_ORDERS_URL)"
        )
    return scheme


def is_embedded(scheme: str) -> bool:
    """Its topics are made in passing: there is nobody else to whom they belong."""
    return scheme in EMBEDDED


def closed_by(closing: ExitStack, adapter: _Adapter) -> _Adapter:
    """The adapter, after a note to close it."""
    closing.callback(adapter.close)
    return adapter


def topics_of(catalog: Catalog, partitions: int, log_scheme: str) -> Mapping[str, int]:
    """Name to number of partitions: the catalog's on a real log, `partitions` in the embedded ones."""
    return {one.topic: partitions if is_embedded(log_scheme) else one.partitions for one in catalog}
