"""The catalog: which event types there are, where they travel, where they land, and how old versions are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from flowguard.domain.columns import METADATA, columns_of
from flowguard.domain.events import Click, Order

Data = dict[str, Any]
"""An event's payload, decoded: the model's fields in some schema version."""

Upcaster = Callable[[Data], Data]
"""Turns a payload of version n into one of version n + 1. Pure; it may change its argument."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}")


class CatalogError(ValueError):
    """The catalog contradicts itself. The text says how to mend it."""


class SchemaContract(StrEnum):
    """What becomes of rows whose table lacks a column, because the model has gained a field and nobody migrated yet."""

    EVOLVE = "evolve"
    """The column is added, nullable."""
    FREEZE = "freeze"
    """A row that has a value for it becomes a dead letter."""
    DISCARD_VALUE = "discard_value"
    """The row lands without the value; its payload has it."""
    DISCARD_ROW = "discard_row"
    """A row that has a value for it is filtered."""


@dataclass(frozen=True, eq=False)
class EventType:
    """One stream: its name in paths and commands, its topic in the log, its table in the sink.

    `model` (pydantic) is the newest version; `upcasters[n]` turns a payload of version n into version n + 1, so the
    versions that can be read are those from the lowest upcaster to `version`. `key` names the payload field whose value
    picks the partition: events with the same key stay in order. `keep`, if given, is the explicit rule that filters: an
    event for which it is false is resolved without a row, and counted as filtered.

    `partitions`, `replication` (copies of each) and `retention_s` (seconds that the log keeps an event) are what its
    topic is made with on a real log; None leaves it to the log's own default. `schema_contract` is for its table; None:
    as the setting says.
    """

    name: str
    model: type[BaseModel]
    key: str
    topic: str = ""
    table: str = ""
    version: int = 1
    upcasters: Mapping[int, Upcaster] = field(default_factory=dict)
    partitions: int = 4
    replication: int | None = None
    retention_s: int | None = None
    keep: Callable[[Any], bool] | None = None
    schema_contract: SchemaContract | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "topic", self.topic or f"raw.{self.name}.v1")
        object.__setattr__(self, "table", self.table or self.name)
        for what, text in (("name", self.name), ("table", self.table)):
            if not _NAME.fullmatch(text):
                raise CatalogError(f"event type {what} {text!r}: use lower-case letters, digits and _ (clicks)")
        if not _TOPIC.fullmatch(self.topic):
            raise CatalogError(f"topic {self.topic!r} of {self.name}: use letters, digits, '.', '_' and '-'")
        if not (isinstance(self.model, type) and issubclass(self.model, BaseModel)):  # type: ignore[redundant-expr]
            raise CatalogError(f"the model of {self.name} is {self.model!r}: it has to be a pydantic BaseModel")
        if self.key not in self.model.model_fields:
            raise CatalogError(f"key {self.key!r} of {self.name} is no field of {self.model.__name__}")
        if min(self.partitions, self.version, *self.upcasters, self.replication or 1) < 1:
            raise CatalogError(f"{self.name} needs at least 1 partition and 1 copy of it, and versions count from 1")
        if self.retention_s is not None and self.retention_s < 1:
            raise CatalogError(f"retention_s of {self.name} is in seconds, from 1 on; None: as the log has it")
        self._check_contract()
        expected = set(range(min(self.upcasters, default=self.version), self.version))
        if set(self.upcasters) != expected:
            raise CatalogError(
                f"{self.name} is at version {self.version}: its upcasters must be those from "
                f"{sorted(expected) or 'none'} without a gap, but they are from {sorted(self.upcasters) or 'none'}"
            )
        reserved = {column.name for column in METADATA} | {"source"}  # a plain event names its producer there
        clash = sorted(reserved & {column.name for column in columns_of(self.model)})
        if clash:
            raise CatalogError(f"{self.model.__name__} of {self.name} must not have fields named {', '.join(clash)}")

    def _check_contract(self) -> None:
        if self.schema_contract is None:
            return
        try:
            object.__setattr__(self, "schema_contract", SchemaContract(self.schema_contract))
        except ValueError as error:
            known = ", ".join(SchemaContract)
            raise CatalogError(
                f"schema_contract {self.schema_contract!r} of {self.name}: it is one of {known}"
            ) from error

    @property
    def versions(self) -> range:
        """Schema versions that can be read."""
        return range(min(self.upcasters, default=self.version), self.version + 1)

    def upcast(self, data: Data, version: int) -> Data:
        """The payload in the newest version. `version` is in `versions`; what an upcaster raises passes through."""
        for step in range(version, self.version):
            data = self.upcasters[step](data)
        return data


class Catalog:
    """The event types, by name and by topic. Immutable.

    A user's own catalog is one object in one module, named in the settings:
    `catalog = Catalog([*BUILT_IN, EventType("bookings", Booking, key="user_id")])`.
    """

    def __init__(self, types: Iterable[EventType]) -> None:
        self._by_name: dict[str, EventType] = {}
        self._by_topic: dict[str, EventType] = {}
        tables: dict[str, EventType] = {}
        for one in types:
            for known, place, what in (
                (self._by_name, one.name, "name"),
                (self._by_topic, one.topic, "topic"),
                (tables, one.table, "table"),
            ):
                if place in known:
                    raise CatalogError(f"two event types have the {what} {place!r}: each needs its own")
                known[place] = one
        if not self._by_name:
            raise CatalogError("a catalog needs one event type at least; clicks and orders are in flowguard.BUILT_IN")

    def __iter__(self) -> Iterator[EventType]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def named(self, name: str) -> EventType | None:
        return self._by_name.get(name)

    def of_topic(self, topic: str) -> EventType | None:
        return self._by_topic.get(topic)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)


BUILT_IN = (
    EventType("clicks", Click, key="session_id", partitions=6),
    EventType("orders", Order, key="user_id", partitions=3),
)
"""`clicks` on raw.clicks.v1 and `orders` on raw.orders.v1."""
