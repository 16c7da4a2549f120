"""From the log's bytes to rows: many records in one call of a compiled decoder, each bad one named with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError

from flowguard.domain import cloudevents, payload
from flowguard.domain.batching import Batch
from flowguard.domain.catalog import Catalog, Data, EventType
from flowguard.domain.columns import row_reader
from flowguard.domain.dead_letters import Reason, Rejection
from flowguard.domain.events import Envelope
from flowguard.domain.ingestion import (
    INGESTION_ID_HEADER,
    Claim,
    Headers,
    IngestionId,
    RecordRun,
    TopicPartition,
    ingestion_id_prefix,
)
from flowguard.domain.rows import Filtered, Row, Rows

_AT_ONCE = 1_000  # records
_MAX_ERROR = 2_000  # characters of an error's text that a dead letter keeps


@dataclass(slots=True)
class Decoded:
    """What a batch held: rows to write, records that can never land, offsets that a rule filtered out."""

    rows: list[Rows] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    filtered: list[Filtered] = field(default_factory=list)


@dataclass(slots=True)
class _Readable:
    """Records of one run that could be read so far, as columns."""

    offsets: list[int] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    data: list[Data] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


class BatchDecoder:
    """Decodes batches by a catalog. Compiled once; pure; safe to share between threads."""

    def __init__(self, catalog: Catalog) -> None:
        self._readers = {event_type.topic: _TypeReader(event_type) for event_type in catalog}
        self._streams = {event_type.topic: event_type.name for event_type in catalog}

    def decode(self, batch: Batch, claims: dict[TopicPartition, Claim], ingested_at: datetime) -> Decoded:
        """Decode what the batch is to write (its excluded records are passed over).

        `ingested_at` (aware, UTC) is the INGESTED_AT of every row. Raises KeyError where a partition has no claim.
        """
        decoded = Decoded()
        excluded: dict[TopicPartition, set[int]] = {}
        for partition, offset in batch.excluded:
            excluded.setdefault(partition, set()).add(offset)
        for run in batch.runs:
            skipped = excluded.get(run.partition, set())
            reader = self._readers.get(run.partition.topic)
            if reader is None:
                decoded.rejections += _all_unknown(run, skipped)
            else:
                reader.read(run, skipped, claims[run.partition].incarnation, ingested_at, decoded)
        return decoded

    def stream_of(self, topic: str) -> str:
        """The name of the topic's event type; of a topic that the catalog does not know, its own."""
        return self._streams.get(topic, topic)


def _parts(run: RecordRun) -> Iterator[RecordRun]:
    """In pieces that are small enough for what is made of them meanwhile, and for others who want the interpreter."""
    if len(run) <= _AT_ONCE:
        yield run
        return
    for start in range(0, len(run), _AT_ONCE):
        yield run.part(start, start + _AT_ONCE)


class _TypeReader:
    def __init__(self, event_type: EventType) -> None:
        self._type = event_type
        self._envelope = msgspec.json.Decoder(Envelope)
        self._many: TypeAdapter[list[Any]] = TypeAdapter(list[event_type.model])  # type: ignore[name-defined]
        self._columns = row_reader(event_type.model)

    def read(self, run: RecordRun, skipped: set[int], incarnation: int, now: datetime, into: Decoded) -> None:
        offsets: list[int] = []
        values: list[Row] = []
        for part in _parts(run):
            readable = self._unwrap(part, skipped, incarnation, into.rejections)
            models = self._validate(part.partition, readable, into.rejections)
            if self._type.keep is not None:
                models, dropped = self._filter(part.partition, readable, models, into.rejections)
                if dropped:
                    into.filtered.append(Filtered(self._type, part.partition, incarnation, dropped))
            fields = self._fields(part.partition, readable, models, into.rejections)
            if fields:
                values += self._rows(part.partition, incarnation, readable, fields, now)
                offsets += readable.offsets
        if values:
            into.rows.append(Rows(self._type, run.partition, incarnation, offsets, values))

    def _unwrap(self, run: RecordRun, skipped: set[int], incarnation: int, bad: list[Rejection]) -> _Readable:
        """Envelopes of this type and of versions that can be read, and their payloads in the newest version."""
        found = self._unwrap_at_once(run, incarnation) if not skipped and run.headers is None else None
        if found is None:
            found = self._unwrap_one_by_one(run, skipped, incarnation, bad)
        self._open_payloads(run.partition, found, bad)
        return found

    def _unwrap_at_once(self, run: RecordRun, incarnation: int) -> _Readable | None:
        """What nearly every run is: good envelopes of the newest version. None where it is anything else."""
        open_envelope = self._envelope.decode
        try:
            envelopes = [open_envelope(value) for value in run.values]
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        kinds = {(envelope.type, envelope.schemaversion) for envelope in envelopes}
        if kinds != {(self._type.name, self._type.version)} or payload.NUL in b"".join(run.values):
            return None
        prefix = ingestion_id_prefix(run.partition.topic, incarnation, run.partition.partition)
        return _Readable(list(run.offsets), envelopes, [], [f"{prefix}{offset}" for offset in run.offsets])

    def _unwrap_one_by_one(
        self, run: RecordRun, skipped: set[int], incarnation: int, bad: list[Rejection]
    ) -> _Readable:
        found = _Readable()
        name, versions = self._type.name, self._type.versions
        place, headers = run.partition, run.headers
        prefix = ingestion_id_prefix(place.topic, incarnation, place.partition)
        for index, (offset, value) in enumerate(zip(run.offsets, run.values, strict=True)):
            if offset in skipped:
                continue
            try:
                envelope = cloudevents.event_of(() if headers is None else headers[index], value)
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                bad.append(_reject(place, offset, Reason.MALFORMED, error, None))
                continue
            may_be_nul = headers is not None or payload.NUL in value
            if may_be_nul and "\x00" in f"{envelope.id}{envelope.source}{envelope.subject}":
                bad.append(_reject(place, offset, Reason.MALFORMED, "the envelope contains the NUL character", None))
                continue
            if envelope.type != name:
                text = f"the type is {envelope.type[:100]!r}, and this topic carries {name!r}"
                bad.append(_reject(place, offset, Reason.UNKNOWN_EVENT_TYPE, text, envelope.id))
                continue
            if envelope.schemaversion not in versions:
                known = str(versions[0]) if len(versions) == 1 else f"{versions[0]} to {versions[-1]}"
                text = f"schema version {envelope.schemaversion} of {name} is unknown (known: {known})"
                bad.append(_reject(place, offset, Reason.UNKNOWN_SCHEMA_VERSION, text, envelope.id))
                continue
            found.offsets.append(offset)
            found.envelopes.append(envelope)
            found.ids.append(f"{prefix}{offset}" if headers is None else _first_id(headers[index], prefix, offset))
        return found

    def _open_payloads(self, place: TopicPartition, found: _Readable, bad: list[Rejection]) -> None:
        try:
            found.data = payload.decode_many([bytes(envelope.data) for envelope in found.envelopes])
        except payload.PayloadError:
            self._open_one_by_one(place, found, bad)
        newest = self._type.version
        failed: set[int] = set()
        for index, envelope in enumerate(found.envelopes):
            if envelope.schemaversion != newest and isinstance(found.data[index], dict):
                try:
                    found.data[index] = self._type.upcast(found.data[index], envelope.schemaversion)
                except Exception as error:  # noqa: BLE001  # a user's code; whatever it raises, it costs this record only
                    failed.add(index)
                    text = f"from version {envelope.schemaversion}: {type(error).__name__}: {error}"
                    bad.append(_reject(place, found.offsets[index], Reason.UPCAST_FAILED, text, envelope.id))
        if failed:
            _keep_only(found, [index for index in range(len(found.offsets)) if index not in failed])

    def _open_one_by_one(self, place: TopicPartition, found: _Readable, bad: list[Rejection]) -> None:
        opened: list[Data] = []
        good: list[int] = []
        for index, envelope in enumerate(found.envelopes):
            try:
                opened.append(payload.decode(bytes(envelope.data)))
                good.append(index)
            except payload.PayloadError as error:
                bad.append(_reject(place, found.offsets[index], Reason.MALFORMED, error, envelope.id))
        found.data = [{}] * len(found.envelopes)
        _keep_only(found, good)
        found.data = opened

    def _validate(self, place: TopicPartition, found: _Readable, bad: list[Rejection]) -> list[Any]:
        """Models of what fits; what does not is taken out of `found`."""
        try:
            return self._many.validate_python(found.data)
        except ValidationError as error:
            faults = _faults(error)
        except Exception:  # noqa: BLE001  # a validator's own bug; found record by record
            return self._validate_one_by_one(place, found, bad)
        for index, text in faults.items():
            bad.append(_reject(place, found.offsets[index], Reason.INVALID, text, found.envelopes[index].id))
        _keep_only(found, [index for index in range(len(found.offsets)) if index not in faults])
        try:
            return self._many.validate_python([self._open(envelope) for envelope in found.envelopes])
        except Exception:  # noqa: BLE001  # a validator that does not say the same twice
            return self._validate_one_by_one(place, found, bad)

    def _validate_one_by_one(self, place: TopicPartition, found: _Readable, bad: list[Rejection]) -> list[Any]:
        models: list[Any] = []
        good: list[int] = []
        for index, envelope in enumerate(found.envelopes):
            try:
                models += self._many.validate_python([self._open(envelope)])
                good.append(index)
            except Exception as error:  # noqa: BLE001  # see _validate
                text = _faults(error)[0] if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
                bad.append(_reject(place, found.offsets[index], Reason.INVALID, text, envelope.id))
        _keep_only(found, good)
        return models

    def _open(self, envelope: Envelope) -> object:
        """A payload that could be opened before, as it was then: a validator may have changed what it was given."""
        data: object = payload.decode(bytes(envelope.data))
        return self._type.upcast(data, envelope.schemaversion) if isinstance(data, dict) else data

    def _filter(
        self, place: TopicPartition, found: _Readable, models: list[Any], bad: list[Rejection]
    ) -> tuple[list[Any], list[int]]:
        keep = self._type.keep
        assert keep is not None  # noqa: S101  # narrows the type; the caller checked
        wanted: list[int] = []
        dropped: list[int] = []
        for index, model in enumerate(models):
            try:
                (wanted.append(index) if keep(model) else dropped.append(found.offsets[index]))
            except Exception as error:  # noqa: BLE001  # a user's rule; whatever it raises, it costs this record only
                text = f"its keep rule raised {type(error).__name__}: {error}"
                bad.append(_reject(place, found.offsets[index], Reason.INVALID, text, found.envelopes[index].id))
        _keep_only(found, wanted)
        return [models[index] for index in wanted], dropped

    def _fields(
        self, place: TopicPartition, found: _Readable, models: Sequence[Any], bad: list[Rejection]
    ) -> list[tuple[Any, ...]]:
        """The models' column values. A model that cannot tell them is taken out of `found`."""
        try:
            return list(self._columns(models))
        except Exception:  # noqa: BLE001  # a user's serializer; whatever it raises, it costs its record only
            fields: list[tuple[Any, ...]] = []
            good: list[int] = []
        for index, model in enumerate(models):
            try:
                fields += list(self._columns([model]))
                good.append(index)
            except Exception as error:  # noqa: BLE001  # as above
                text = f"its columns cannot be told: {type(error).__name__}: {error}"
                bad.append(_reject(place, found.offsets[index], Reason.INVALID, text, found.envelopes[index].id))
        _keep_only(found, good)
        return fields

    def _rows(
        self, place: TopicPartition, incarnation: int, found: _Readable, columns: list[tuple[Any, ...]], now: datetime
    ) -> list[Row]:
        name, topic, partition = self._type.name, place.topic, place.partition
        return [
            (e.id, name, e.schemaversion, topic, incarnation, partition, offset, e.source, ingestion_id, e.subject,
             e.time, now, str(e.data, "utf-8"), *fields)
            for e, offset, ingestion_id, fields in zip(found.envelopes, found.offsets, found.ids, columns, strict=True)
        ]  # fmt: skip


def _faults(error: ValidationError) -> dict[int, str]:
    """What is wrong, by index in the list that was validated."""
    reasons: dict[int, list[str]] = {}
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        where, what = one["loc"][1:], one["msg"]
        reasons.setdefault(int(one["loc"][0]), []).append(f"/{'/'.join(map(str, where))}: {what}")
    return {index: "; ".join(texts) for index, texts in reasons.items()}


def _keep_only(found: _Readable, indexes: list[int]) -> None:
    found.offsets = [found.offsets[index] for index in indexes]
    found.envelopes = [found.envelopes[index] for index in indexes]
    found.data = [found.data[index] for index in indexes]
    found.ids = [found.ids[index] for index in indexes]


def _first_id(headers: Headers, prefix: str, offset: int) -> str:
    """The id under which a relayed record was first logged, or its own."""
    for name, value in headers:
        if name == INGESTION_ID_HEADER:
            try:
                return str(IngestionId.parse(value.decode()))
            except ValueError:
                break
    return f"{prefix}{offset}"


def _all_unknown(run: RecordRun, skipped: set[int]) -> list[Rejection]:
    text = f"no event type of the catalog has the topic {run.partition.topic}"
    return [
        Rejection(run.partition, offset, Reason.UNKNOWN_EVENT_TYPE, text)
        for offset in run.offsets
        if offset not in skipped
    ]


def _reject(
    place: TopicPartition, offset: int, reason: Reason, error: Exception | str, event_id: str | None
) -> Rejection:
    text = error if isinstance(error, str) else str(error) or type(error).__name__
    return Rejection(place, offset, reason, text[:_MAX_ERROR], event_id)
