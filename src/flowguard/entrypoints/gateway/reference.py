"""The body of the documentation page, rendered from the catalog."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from flowguard.domain.catalog import Catalog, EventType
from flowguard.entrypoints.gateway import problems
from flowguard.entrypoints.gateway.examples import example_of
from flowguard.entrypoints.gateway.openapi import ENVELOPE

Json = Mapping[str, Any]

_ADDRESSES = (
    ("POST /v1/events/<type>", "publish events of one type"),
    ("POST /v1/events", "publish events that name their own type, in event_type"),
    ("GET /v1/status", "the streams in figures"),
    ("GET /v1/stream", "the same each second, as server-sent events"),
    ("GET /health", "all parts; /health/live: the process answers; /health/ready: the log takes events"),
    ("GET /openapi.json", "this page for machines (OpenAPI 3.1)"),
)
_ORDERS = ("POST /v1/orders", "place an order, with an Idempotency-Key if it may be sent again")
_ANSWERS = (
    "<p>202: at least one event is durable, or was so before. Each has its verdict: <b>accepted</b>, <b>duplicate</b>"
    " or <b>rejected</b>, with what is wrong and where (a JSON pointer). Other answers are problems (RFC 9457):</p>"
)


def reference(catalog: Catalog, *, max_events: int, max_body_bytes: int, orders: EventType | None = None) -> str:
    """HTML. `{{base}}` stands for the gateway's own address; `orders` is the event type of orders that it places."""
    return "".join(
        [
            _publishing(max_events, max_body_bytes),
            *(_event_type(one) for one in catalog),
            *([] if orders is None else [_placing(orders)]),
            "<section id=fields><h2>Fields of every event</h2><p>All may be left out.</p>",
            _fields({"properties": ENVELOPE}, {}),
            "</section>",
            "<section id=answers><h2>Answers</h2>",
            _ANSWERS,
            _table(("Status", "Problem", "Meaning"), ((str(k.status), k.uri, k.title) for k in problems.KINDS)),
            "</section><section id=addresses><h2>Addresses</h2>",
            _table(("Request", "What for"), _ADDRESSES if orders is None else (_ORDERS, *_ADDRESSES)),
            "</section>",
        ]
    )


def curl(event_type: EventType, path: str = "", *headers: str) -> str | None:
    """A line for a shell that publishes one event, to `{{base}}`; None where no example could be made up.

    Another `path` than the type's own, and more `headers`, may be given.
    """
    example = example_of(event_type)
    if example is None:
        return None
    body = json.dumps(example, ensure_ascii=False).replace("'", "'\\''")
    flags = " ".join(f"-H '{one}'" for one in ("Content-Type: application/json", *headers))
    return f"curl {{{{base}}}}{path or f'/v1/events/{event_type.name}'} {flags} -d '{body}'"


def _publishing(max_events: int, max_body_bytes: int) -> str:
    return (
        "<section id=publishing><h2>Publishing</h2><p>The body is one event, an array of events, or one event a line"
        f" (<code>application/x-ndjson</code>): up to {max_events:,} events and {max_body_bytes / 2**20:,.4g} MiB in"
        " one request, gzip or not. CloudEvents in their structured form are taken as well. The answer comes when the"
        " events would survive a power cut. Give each event an <code>event_id</code> of your own, and sending it again"
        " after an error is safe: it lands once.</p></section>"
    )


def _placing(orders: EventType) -> str:
    line = curl(orders, "/v1/orders", "Idempotency-Key: 7d4c2f1e")
    return (
        f"<section id=orders-placed><h2>Placing an order</h2><p>One <code>{escape(orders.name)}</code> event a request."
        " The answer, 201, comes when the order is stored together with its event, which then goes to the log and lands"
        " once. With an <code>Idempotency-Key</code> of your own making, the same request may be sent again: it is"
        " carried out once, and gets the first answer each time.</p>"
        + (f"<pre><code>{escape(line, quote=False)}</code></pre></section>" if line else "</section>")
    )


def _event_type(event_type: EventType) -> str:
    schema = event_type.model.model_json_schema()
    definitions: Json = schema.get("$defs", {})
    versions = event_type.versions
    known = f"version {versions[0]}" if len(versions) == 1 else f"versions {versions[0]} to {versions[-1]}"
    name = escape(event_type.name)
    place = (
        f"<p class=quiet>Topic <code>{escape(event_type.topic)}</code>, table <code>{escape(event_type.table)}</code>,"
        f" {known}; events with the same <code>{escape(event_type.key)}</code> stay in order.</p>"
    )
    inner = (
        f"<h3>{escape(title)}</h3>{_fields(definition, definitions)}"
        for title, definition in definitions.items()
        if definition.get("properties")
    )
    parts = [
        f"<section id=type-{name}><h2>{name}</h2><p>{_prose(schema.get('description', ''))}</p>",
        place,
        _fields(schema, definitions),
        *inner,
    ]
    line = curl(event_type)
    if line is None:
        parts.append(f"<p>Post it to <code>{{{{base}}}}/v1/events/{name}</code>.</p>")
    else:
        parts.append(f"<pre><code>{escape(line, quote=False)}</code></pre>")
    return "".join([*parts, "</section>"])


def _fields(schema: Json, definitions: Json) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (name, _kind(field, definitions), "yes" if name in required else "", str(field.get("description", "")))
        for name, field in schema.get("properties", {}).items()
    ]
    heads = ("Field", "Holds", "Required", "Meaning")
    filled = [number for number in range(4) if any(row[number] for row in rows)]
    return _table((heads[number] for number in filled), (tuple(row[number] for number in filled) for row in rows))


def _table(heads: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(
        f"<tr><td><code>{escape(first)}</code></td>{''.join(f'<td>{_prose(one)}</td>' for one in rest)}</tr>"
        for first, *rest in rows
    )
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _prose(text: str) -> str:
    """A text as HTML; what stands in backticks is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _kind(schema: Json, definitions: Json) -> str:
    """A JSON schema in a few words."""
    if "$ref" in schema:
        name: str = schema["$ref"].rpartition("/")[2]
        target = definitions.get(name, {})
        return name if target.get("properties") else _kind(target, definitions)
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return "one of: " + ", ".join(map(str, schema["enum"]))
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_kind(one, definitions) for one in schema[several]))
    kinds = schema.get("type", "anything")
    return " or ".join(_plain_kind(one, schema, definitions) for one in ([kinds] if isinstance(kinds, str) else kinds))


def _plain_kind(kind: str, schema: Json, definitions: Json) -> str:
    match kind:
        case "string":
            text = {"date-time": "time", "date": "date", "uuid": "UUID"}.get(schema.get("format", ""), "text")
            least, most = schema.get("minLength"), schema.get("maxLength")
            bounds = f", {least or 0} to {most} characters" if most else ""
            return text + bounds + (f", matching `{schema['pattern']}`" if "pattern" in schema else "")
        case "array":
            inner = _kind(schema.get("items", {}), definitions)
            return f"list of {inner}" + (f", at least {schema['minItems']}" if schema.get("minItems") else "")
        case "integer" | "number":
            name = "whole number" if kind == "integer" else "number"
            least, most = schema.get("minimum"), schema.get("maximum")
            spread = [f"from {least:g}" if least is not None else "", f"to {most:,}" if most is not None else ""]
            return " ".join([name, *filter(None, spread)])
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case _:
            return "object"
