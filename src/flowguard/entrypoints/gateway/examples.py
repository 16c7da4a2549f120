"""One event of each type that the gateway would take: for the documentation, and for its curl lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from flowguard.domain import payload
from flowguard.domain.catalog import EventType
from flowguard.domain.events import Click, Order

Json = dict[str, Any]

_BUILT_IN: Mapping[type[BaseModel], Json] = {
    Click: {"user_id": "u-7", "session_id": "s-19", "item_id": "42", "ad_id": "food_42", "page": "/menu"},
    Order: {
        "order_id": "o-1001",
        "user_id": "u-7",
        "session_id": "s-19",
        "lines": [{"item_id": "42", "quantity": 2, "unit_price": 4.5}],
        "currency": "EUR",
        "total": 9.0,
        "status": "created",
    },
}
_DEEPEST = 8
_FORMATS = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "uuid": "019a1b2c-3d4e-7f80-9a0b-1c2d3e4f5061",
    "uri": "https://shop.example/menu",
    "email": "someone@shop.example",
    "duration": "PT1M",
}


def example_of(event_type: EventType) -> Json | None:
    """The model's fields of an event that fits, or None where none could be made up.

    A model brings its own along as pydantic has it: `model_config = ConfigDict(json_schema_extra={"examples": [...]})`.
    """
    model = event_type.model
    schema = model.model_json_schema()
    given = schema.get("examples")
    candidates = [
        given[0] if isinstance(given, list) and given else None,
        _BUILT_IN.get(model),
        _made_up(schema, schema),
    ]
    return next((one for one in candidates if isinstance(one, dict) and _fits(model, one)), None)


def _fits(model: type[BaseModel], example: Json) -> bool:
    try:
        model.model_validate(payload.decode(msgspec.json.encode(example)))
    except (ValidationError, ValueError, TypeError):
        return False
    return True


def _made_up(schema: Json, root: Json, name: str = "example", depth: int = 0) -> object:
    """A value for a JSON schema, as far as types and simple bounds go."""
    if depth > _DEEPEST:
        return None
    if "$ref" in schema:
        return _made_up(root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {}), root, name, depth + 1)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return _made_up(schema[several][0], root, name, depth + 1)
    said = [schema.get("const"), schema.get("default"), *schema.get("examples", ()), *schema.get("enum", ())]
    for value in said:
        if value is not None:
            return value
    return _of_type(schema, root, name, depth)


def _of_type(schema: Json, root: Json, name: str, depth: int) -> object:
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            wanted = (one for one in schema.get("required", ()) if one in fields)
            return {one: _made_up(fields[one], root, one, depth + 1) for one in wanted}
        case "array":
            inner = schema.get("items")
            return [_made_up(inner, root, name, depth + 1)] * max(1, schema.get("minItems", 0)) if inner else []
        case "integer" | "number":
            return max(schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1)
        case "boolean":
            return True
        case "string":
            text: str = _FORMATS.get(schema.get("format", ""), f"{name}-1")
            return text[: schema.get("maxLength", len(text))].ljust(schema.get("minLength", 0), "x")
        case _:
            return None
