"""The values that a request binds."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from fakesnow.converter import from_binding

from .statements import Params

Bind = dict[str, Any]
"""`type`, and `value`: a text, none, or a list of them for as many rows."""


def values_of(bindings: dict[str, Bind] | None) -> tuple[Params, list[Params] | None]:
    """Of one row, by place or by name; or those of many rows, one after the other."""
    if not bindings:
        return None, None
    if not all(name.isdigit() for name in bindings):
        return {name: _value(bind["type"], bind["value"]) for name, bind in bindings.items()}, None
    ordered = [bindings[str(place)] for place in range(1, len(bindings) + 1)]
    if not any(isinstance(bind["value"], list) for bind in ordered):
        return tuple(_value(bind["type"], bind["value"]) for bind in ordered), None
    columns = [[_value(bind["type"], value) for value in bind["value"]] for bind in ordered]
    return None, list(zip(*columns, strict=True))


def _value(kind: str, text: str | None) -> object:
    if text is None:
        return None
    if kind == "FIXED":  # fakesnow takes whole numbers only
        return int(text) if text.lstrip("-").isdigit() else Decimal(text)
    return float(text) if kind == "REAL" else from_binding({"type": kind, "value": text})
