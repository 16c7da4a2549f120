"""From what a producer sent to what the log keeps: one event type's events, checked together, each fault pointed at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from pydantic import TypeAdapter, ValidationError

from flowguard.domain import payload
from flowguard.domain.catalog import Data, EventType
from flowguard.domain.events import MAX_EVENT_ID, Envelope

MOST_FAULTS = 20
"""Faults that are told of one event. A list of thousands with the same mistake in each needs no thousands of lines."""

_ABSENT: Any = object()
_LARGEST_VERSION = 2**31 - 1
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Envelope).decode


class EventFault(msgspec.Struct, frozen=True, gc=False):
    """What is wrong with one event. `pointer` is a JSON pointer (RFC 6901) into it; empty: the event as a whole."""

    pointer: str
    message: str


class _Names(NamedTuple):
    """What the envelope's fields are called in a request. `payload` is the pointer of the model's fields."""

    id: str
    source: str
    type: str
    time: str
    version: str
    subject: str
    payload: str


_PLAIN = _Names("event_id", "source", "event_type", "occurred_at", "schema_version", "subject", "")
_CLOUD = _Names("id", "source", "type", "time", "schemaversion", "subject", "/data")


class Admitted(msgspec.Struct, gc=False):
    """An event on its way into the log: `index` in its request, its identity, its bytes, and the key that places it.

    `data` is its payload in the newest version; None: of a version that cannot be checked.
    """

    index: int
    source: str
    event_id: str
    value: bytes
    data: Data | None
    key: object
    names: _Names

    @property
    def key_bytes(self) -> bytes | None:
        return None if self.key is None else str(self.key).encode()


Rejected = dict[int, list[EventFault]]
"""Faults by index in the request."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What an event gets that does not say: an id of its own, the time of its arrival, a source."""

    new_event_id: Callable[[], str]
    source: str


def type_of(event: Mapping[str, Any]) -> object:
    """The event type that an event names itself; None where it names none."""
    return event.get(_names(event).type)


def given_id(event: object) -> str | None:
    """The event id that the producer gave, where it can be told."""
    found = event.get(_names(event).id) if isinstance(event, dict) else None
    return found if isinstance(found, str) else None


def type_pointer(event: Mapping[str, Any]) -> str:
    """Where an event names its type."""
    return f"/{_names(event).type}"


def _names(event: Mapping[str, Any]) -> _Names:
    return _CLOUD if "specversion" in event and "data" in event else _PLAIN


class Intake:
    """Takes in the events of one type. Compiled once, and then used for every request."""

    def __init__(self, event_type: EventType, defaults: Defaults) -> None:
        self._type = event_type
        self._defaults = defaults
        self._many: TypeAdapter[list[Any]] = TypeAdapter(list[event_type.model])  # type: ignore[name-defined]

    def admit(
        self, events: Iterable[tuple[int, Data]], rejected: Rejected, now: datetime, *, clean: bool
    ) -> list[Admitted]:
        """The events (index, event) that fit, in their order; the faults of the others go to `rejected`.

        Nothing of the events is changed. `clean` promises that they hold JSON values which every sink can store.
        """
        opened = self._open(events, rejected, now, clean=clean)
        checked = [one for one in opened if one.data is not None]
        for one, model in zip(checked, self._validate(checked, rejected), strict=True):
            if one.key is None:  # it has an alias, or a default
                one.key = getattr(model, self._type.key)
        return [one for one in opened if one.index not in rejected] if rejected else opened

    def _open(  # noqa: C901, PLR0912, PLR0915  # one loop, no calls: this is what each event costs
        self, events: Iterable[tuple[int, Data]], rejected: Rejected, now: datetime, *, clean: bool
    ) -> list[Admitted]:
        opened: list[Admitted] = []
        event_type, versions, newest = self._type.name, self._type.versions, self._type.version
        new_event_id, default_source = self._defaults.new_event_id, self._defaults.source
        key_name, encode_payload, parse = self._type.key, payload.encode, datetime.fromisoformat
        for index, event in events:
            if not clean and (bad := list(islice(payload.faults(event), MOST_FAULTS))):
                rejected[index] = [EventFault(pointer, message) for pointer, message in bad]
                continue
            faults: list[EventFault] = []
            names = _PLAIN
            data = event.copy()
            take = data.pop
            if "specversion" in event and "data" in event:
                names = _CLOUD
                data = event["data"]
                if event["specversion"] != "1.0":
                    faults.append(EventFault("/specversion", "must be 1.0"))
                if not isinstance(data, dict):
                    faults.append(EventFault("/data", "must be a JSON object"))

            event_id = take(names.id, _ABSENT)
            if event_id is _ABSENT:
                event_id = new_event_id()
            elif not isinstance(event_id, str) or not 0 < len(event_id) <= MAX_EVENT_ID:
                faults.append(EventFault(f"/{names.id}", f"must be a text of 1 to {MAX_EVENT_ID} characters"))
            source = take(names.source, default_source)
            if not isinstance(source, str) or not 0 < len(source) <= MAX_EVENT_ID:
                faults.append(EventFault(f"/{names.source}", f"must be a text of 1 to {MAX_EVENT_ID} characters"))
            named = take(names.type, event_type)
            if named != event_type:
                text = f"must be {event_type}, as the path says, or be left out"
                faults.append(EventFault(f"/{names.type}", text))
            time = take(names.time, now)
            if time is not now:
                try:
                    time = parse(time) if isinstance(time, str) else time
                    if time.tzinfo is None:
                        text = "needs a timezone: end it with Z, or with an offset such as +02:00"
                        faults.append(EventFault(f"/{names.time}", text))
                    elif time.tzinfo is not UTC:
                        time = time.astimezone(UTC)
                except (ValueError, OverflowError, AttributeError):
                    text = "must be a time as ISO 8601 has it, such as 2026-01-31T12:00:00Z"
                    faults.append(EventFault(f"/{names.time}", text))
            subject = take(names.subject, None)
            if subject is not None and not isinstance(subject, str):
                faults.append(EventFault(f"/{names.subject}", "must be a text"))
            version = take(names.version, newest)
            if type(version) is not int or not 0 < version <= _LARGEST_VERSION:
                faults.append(EventFault(f"/{names.version}", "must be a whole number from 1 on"))
            if faults:
                rejected[index] = faults
                continue

            try:
                raw = encode_payload(data)
                value = _encode(
                    Envelope(
                        id=event_id,
                        source=source,
                        type=event_type,
                        time=time,
                        schemaversion=version,
                        subject=subject,
                        data=msgspec.Raw(raw),
                    )
                )
            except ValueError as error:
                rejected[index] = [EventFault("", str(error))]
                continue
            checked: Data | None = data
            if version != newest:
                # A version from the future is taken on trust: whoever sends it was deployed first. The consumer makes
                # it a dead letter, from which it is replayed once this side is up to date.
                checked = None
                if version in versions:
                    try:
                        checked = data = self._type.upcast(payload.decode(raw), version)
                        data.get  # noqa: B018  # an upcaster that forgot its return
                    except Exception as error:  # noqa: BLE001  # a user's code; it costs this event only
                        text = f"cannot be read as version {version}: {type(error).__name__}: {error}"
                        rejected[index] = [EventFault(names.payload, text)]
                        continue
            opened.append(Admitted(index, source, event_id, value, checked, data.get(key_name), names))
        return opened

    def _validate(self, checked: list[Admitted], rejected: Rejected) -> Sequence[Any]:
        """The models of those that fit; the others are taken out of `checked`."""
        try:
            return self._many.validate_python([one.data for one in checked])
        except Exception:  # noqa: BLE001  # an event that does not fit, or a model's own bug: found event by event
            models: list[Any] = []
            good: list[Admitted] = []
        for one in checked:
            try:
                models += self._many.validate_python([self._as_sent(one)])
                good.append(one)
            except ValidationError as error:
                rejected[one.index] = _explain(error, [one])[0]
            except Exception as error:  # noqa: BLE001  # a model's own bug costs its event only
                text = f"its model raised {type(error).__name__}: {error}"
                rejected[one.index] = [EventFault(one.names.payload, text)]
        checked[:] = good
        return models

    def _as_sent(self, one: Admitted) -> Data:
        """Its payload as it was before validation: a validator may have changed what it was given."""
        envelope = _decode(one.value)
        data: Data = payload.decode(bytes(envelope.data))
        return self._type.upcast(data, envelope.schemaversion)


def _explain(error: ValidationError, checked: Sequence[Admitted]) -> dict[int, list[EventFault]]:
    """Faults by position in `checked`."""
    faults: dict[int, list[EventFault]] = {}
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        position, *steps = one["loc"]
        found = faults.setdefault(int(position), [])
        if len(found) < MOST_FAULTS:
            event = checked[int(position)]
            pointer = event.names.payload + _pointer(event.data, steps, missing=one["type"] == "missing")
            found.append(EventFault(pointer, one["msg"].removeprefix("Value error, ")))
    return faults


def _pointer(value: object, steps: Sequence[int | str], *, missing: bool) -> str:
    """The JSON pointer of where pydantic saw an error. What names no place (the branch of a union) is left out."""
    pointer = ""
    for number, step in enumerate(steps, 1):
        match value:
            case dict() if step in value:
                value = value[step]
            case list() if isinstance(step, int) and step < len(value):
                value = value[step]
            case _ if not (missing and number == len(steps)):
                continue
            case _:
                pass
        pointer += "/" + str(step).replace("~", "~0").replace("/", "~1")
    return pointer
