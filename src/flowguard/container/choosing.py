"""Which adapter a URL asks for, and closing it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Protocol, TypeVar

from flowguard.domain.catalog import Catalog
from flowguard.domain.errors import ConfigurationError
from flowguard.settings import scheme_of

EMBEDDED = ("sqlite", "memory")
_LATER = {"kafka": ("log_url",), "postgresql": ("sink_url", "dead_letter_url"), "snowflake": ("sink_url",)}
"""Schemes of later releases, and the settings that will take them."""


class _Closeable(Protocol):
    def close(self) -> None: ...


_Adapter = TypeVar("_Adapter", bound=_Closeable)


def scheme_in_force(url: str, setting: str) -> str:
    """The adapter that the URL of this setting asks for. Raises ConfigurationError where there is none."""
    scheme = scheme_of(url)
    if scheme in EMBEDDED:
        return scheme
    known = "sqlite:///folder/file.db or memory://"
    if setting in _LATER.get(scheme, ()):
        raise ConfigurationError(f"{setting}: {scheme}:// comes with a later release of FlowGuard; use {known}")
    raise ConfigurationError(f"{setting}: nothing here speaks {scheme or url!r}://; use {known}")


def closed_by(closing: ExitStack, adapter: _Adapter) -> _Adapter:
    """The adapter, after a note to close it."""
    closing.callback(adapter.close)
    return adapter


def topics_of(catalog: Catalog, partitions: int) -> Mapping[str, int]:
    """Name to number of partitions, as the embedded logs make them."""
    return {one.topic: partitions for one in catalog}
