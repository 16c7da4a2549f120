"""The streams of a simulated world, and an independent model of what should become of each record.

Nothing here asks the code under test what it thinks of a record: each is made to be of a kind, and the kind decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from random import Random
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict

from flowguard.domain import payload
from flowguard.domain.catalog import Catalog, EventType
from flowguard.domain.dead_letters import Reason
from flowguard.domain.decoding import BatchDecoder
from flowguard.domain.events import Envelope

OCCURRED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UNWANTED = "unwanted"
"""A note that the sink refuses to keep, for good."""


class Tap(BaseModel):
    model_config = ConfigDict(frozen=True)

    device: str
    count: int
    note: str | None = None


def _from_1(data: dict[str, Any]) -> dict[str, Any]:
    data["count"] = data.pop("n")
    return data


def _from_2(data: dict[str, Any]) -> dict[str, Any]:
    return data


def _keep(tap: Tap) -> bool:
    if tap.note == "explode":
        raise RuntimeError("the rule itself is broken")
    return tap.note != "drop"


def _catalog(version: int) -> Catalog:
    upcasters: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, 2: _from_2}
    return Catalog(
        EventType(
            name,
            Tap,
            key="device",
            version=version,
            upcasters={step: upcasters[step] for step in range(1, version)},
            keep=_keep,
        )
        for name in STREAMS
    )


GROUP = "flowguard"
STREAMS = ("taps", "swipes")
OLD, NEW = 2, 3
"""Newest schema version that a consumer knows, before and after the upgrade."""
CATALOGS = {version: _catalog(version) for version in (OLD, NEW)}
DECODERS = {version: BatchDecoder(catalog) for version, catalog in CATALOGS.items()}


class Fate(Enum):
    """What should become of a record that is no dead letter."""

    ROW = auto()
    FILTERED = auto()


class Kind(Enum):
    """What a record was made to be. The value: what it should become before the upgrade, after it, and a number."""

    value: tuple[Fate | Reason, Fate | Reason, int]

    GOOD = Fate.ROW, Fate.ROW, 0
    OLD_VERSION = Fate.ROW, Fate.ROW, 1
    FILTERED = Fate.FILTERED, Fate.FILTERED, 2
    FUTURE_VERSION = Reason.UNKNOWN_SCHEMA_VERSION, Fate.ROW, 3
    UNKNOWN_VERSION = Reason.UNKNOWN_SCHEMA_VERSION, Reason.UNKNOWN_SCHEMA_VERSION, 4
    NOT_JSON = Reason.MALFORMED, Reason.MALFORMED, 5
    NO_ENVELOPE = Reason.MALFORMED, Reason.MALFORMED, 6
    TRUNCATED = Reason.MALFORMED, Reason.MALFORMED, 7
    NOT_UTF8 = Reason.MALFORMED, Reason.MALFORMED, 8
    NUL = Reason.MALFORMED, Reason.MALFORMED, 9
    HUGE_NUMBER = Reason.MALFORMED, Reason.MALFORMED, 10
    TOO_DEEP = Reason.MALFORMED, Reason.MALFORMED, 11
    NAIVE_TIME = Reason.MALFORMED, Reason.MALFORMED, 12
    OTHER_TYPE = Reason.UNKNOWN_EVENT_TYPE, Reason.UNKNOWN_EVENT_TYPE, 13
    NO_OBJECT = Reason.INVALID, Reason.INVALID, 14
    MISFIT = Reason.INVALID, Reason.INVALID, 15
    RULE_RAISES = Reason.INVALID, Reason.INVALID, 16
    UPCAST_RAISES = Reason.UPCAST_FAILED, Reason.UPCAST_FAILED, 17
    REFUSED = Reason.REJECTED_BY_SINK, Reason.REJECTED_BY_SINK, 18


POISON = tuple(kind for kind in Kind if isinstance(kind.value[0], Reason) and kind is not Kind.FUTURE_VERSION)


@dataclass(frozen=True, slots=True, eq=False)
class Spec:
    """One event as a producer sends it, and what it was made to be."""

    stream: str
    kind: Kind
    source: str
    event_id: str
    version: int
    data: dict[str, Any]
    payload: str
    key: bytes
    value: bytes

    def fate(self, known_version: int) -> Fate | Reason:
        """What should become of it, where the consumer knows versions up to `known_version`."""
        return self.kind.value[0] if known_version == OLD else self.kind.value[1]

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.stream, self.source, self.event_id


def topic_of(stream: str) -> str:
    return f"raw.{stream}.v1"


def make(stream: str, kind: Kind, number: int, rng: Random, *, event_id: str | None = None) -> Spec:
    """An event of a kind. `number` makes its bytes, and its event id where none is given, like no other's."""
    device = f"d{rng.randrange(8)}"
    source = rng.choice(("shop", "app"))
    event_id = event_id or f"e{number}"
    version = _VERSIONS.get(kind, 2)
    data: Any = {"device": device, "count": number, "note": _NOTES.get(kind, "x" * rng.choice((0, 0, 10, 200)))}
    if kind is Kind.OLD_VERSION:
        data["n"] = data.pop("count")
    if kind is Kind.MISFIT:
        data["count"] = "many"
    raw = payload.encode([number] if kind is Kind.NO_OBJECT else data)
    if kind is Kind.HUGE_NUMBER:
        raw = raw.replace(b"%d" % number, b"%de400" % number)
    envelope = Envelope(
        id=event_id,
        source=source,
        type="others" if kind is Kind.OTHER_TYPE else stream,
        time=OCCURRED_AT,
        schemaversion=version,
        data=msgspec.Raw(raw),
    )
    value = _spoilt(kind, msgspec.json.encode(envelope), number)
    return Spec(stream, kind, source, event_id, version, data, raw.decode(), device.encode(), value)


def _spoilt(kind: Kind, value: bytes, number: int) -> bytes:
    match kind:
        case Kind.NOT_JSON:
            return b"nonsense %d" % number
        case Kind.NO_ENVELOPE:
            return b'{"n":%d}' % number
        case Kind.TRUNCATED:
            return value[:-3]
        case Kind.NOT_UTF8:
            return value.replace(b'"note":"', b'"note":"\xff')
        case Kind.NAIVE_TIME:
            return value.replace(b'05Z"', b'05"')
        case _:
            return value


def _nest(levels: int) -> list[Any]:
    nest: list[Any] = []
    for _ in range(levels):
        nest = [nest]
    return nest


_VERSIONS = {Kind.OLD_VERSION: 1, Kind.UPCAST_RAISES: 1, Kind.FUTURE_VERSION: 3, Kind.UNKNOWN_VERSION: 9}
_NOTES: Mapping[Kind, Any] = {
    Kind.FILTERED: "drop",
    Kind.RULE_RAISES: "explode",
    Kind.REFUSED: UNWANTED,
    Kind.NUL: "a\x00b",
    Kind.TOO_DEEP: _nest(100),
}
