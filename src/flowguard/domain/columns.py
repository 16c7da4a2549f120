"""The columns of a bronze table: the metadata that every event has, and the typed fields of its model."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from operator import attrgetter
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, TypeAdapter


class Kind(StrEnum):
    """What a column holds; each sink has its own SQL type and value for it.

    The Python values are str, int, float, Decimal, bool, datetime and, for JSON, str. A datetime is in UTC,
    and one without a timezone is taken for UTC.
    """

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `required` columns are never null."""

    name: str
    kind: Kind
    required: bool = False


METADATA = (
    Column("event_id", Kind.TEXT, required=True),
    Column("event_type", Kind.TEXT, required=True),
    Column("schema_version", Kind.INTEGER, required=True),
    Column("source_topic", Kind.TEXT, required=True),
    Column("source_incarnation", Kind.INTEGER, required=True),
    Column("source_partition", Kind.INTEGER, required=True),
    Column("source_offset", Kind.INTEGER, required=True),
    Column("producer_service", Kind.TEXT, required=True),
    Column("ingestion_id", Kind.TEXT, required=True),
    Column("subject", Kind.TEXT),
    Column("occurred_at", Kind.TIMESTAMP, required=True),
    Column("ingested_at", Kind.TIMESTAMP, required=True),
    Column("payload", Kind.JSON, required=True),
)
"""First columns of every bronze table, in this order. `payload` is what the producer sent, in its own version."""

_PLAIN: dict[object, Kind] = {
    str: Kind.TEXT,
    int: Kind.INTEGER,
    float: Kind.REAL,
    Decimal: Kind.DECIMAL,
    bool: Kind.BOOLEAN,
}
_AS_TEXT = (UUID, date)


def columns_of(model: type[BaseModel]) -> tuple[Column, ...]:
    """The typed columns of a model: one a field, named as the field is."""
    return tuple(Column(name, _kind(info.annotation)[0], required=False) for name, info in model.model_fields.items())


def row_reader(model: type[BaseModel]) -> Callable[[Sequence[Any]], Iterable[tuple[Any, ...]]]:
    """A function from validated models to their column values, one tuple a model, in the order of `columns_of`.

    Most fields are taken as they are, by one call a model; only those that need a conversion cost more.
    """
    names = tuple(model.model_fields)
    converters = {
        index: convert
        for index, info in enumerate(model.model_fields.values())
        if (convert := _kind(info.annotation)[1]) is not None
    }
    get = attrgetter(*names)

    def read(models: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
        rows = map(get, models) if len(names) > 1 else ((get(one),) for one in models)
        if not converters:
            return rows
        return (_convert(row, converters) for row in rows)

    return read


def _convert(row: tuple[Any, ...], converters: dict[int, Callable[[Any], Any]]) -> tuple[Any, ...]:
    changed = list(row)
    for index, convert in converters.items():
        if changed[index] is not None:
            changed[index] = convert(changed[index])
    return tuple(changed)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _kind(  # noqa: PLR0911  # one return a kind reads as the table that it is
    annotation: Any,  # noqa: ANN401  # annotations can be anything
) -> tuple[Kind, Callable[[Any], Any] | None]:
    """(kind, conversion) of a field's annotation; None where the value is taken as it is."""
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        some = [one for one in get_args(annotation) if one is not type(None)]
        if len(some) == 1:
            return _kind(some[0])
    if annotation in _PLAIN:
        return _PLAIN[annotation], None
    if annotation is datetime:
        return Kind.TIMESTAMP, _utc
    if get_origin(annotation) is Literal and all(isinstance(one, str) for one in get_args(annotation)):
        return Kind.TEXT, None
    if isinstance(annotation, type):
        if issubclass(annotation, Enum) and all(isinstance(one.value, str) for one in annotation):
            return Kind.TEXT, lambda member: member.value
        if issubclass(annotation, _AS_TEXT):
            return Kind.TEXT, str
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    return Kind.JSON, lambda value: adapter.dump_json(value).decode()
