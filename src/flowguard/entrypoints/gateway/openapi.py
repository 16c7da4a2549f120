"""The gateway as an OpenAPI 3.1 document, built from the catalog."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from pydantic.json_schema import models_json_schema

from flowguard import __version__
from flowguard.application.publish import PublishReport
from flowguard.domain.catalog import Catalog, EventType
from flowguard.domain.events import MAX_EVENT_ID
from flowguard.domain.orders import MAX_KEY
from flowguard.entrypoints.gateway import problems
from flowguard.entrypoints.gateway.examples import example_of
from flowguard.entrypoints.gateway.ordering import KEY_HEADER, REPEATED_HEADER, OrderAnswer

Json = dict[str, Any]

_SCHEMAS = "#/components/schemas/"
_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_EVENT_ID}
ENVELOPE: Json = {
    "event_id": {
        **_TEXT,
        "description": "What this event is: the same id from the same source lands once, however often it is sent."
        " Made by the gateway (a UUIDv7) where it is absent.",
    },
    "occurred_at": {
        "type": "string",
        "format": "date-time",
        "description": "When it happened: ISO 8601, with a timezone. The time of arrival where it is absent.",
    },
    "schema_version": {
        "type": "integer",
        "minimum": 1,
        "maximum": 2**31 - 1,
        "description": "The version of the model's fields. The newest where it is absent.",
    },
    "source": {**_TEXT, "description": "The service that sends it. The gateway's default where it is absent."},
    "subject": {"type": ["string", "null"], "description": "What it is about, if that needs saying."},
}
_REFUSALS = (
    problems.NOT_JSON,
    problems.FOREIGN_ORIGIN,
    problems.TOO_LARGE,
    problems.MEDIA_TYPE_REFUSED,
    problems.UNAVAILABLE,
    problems.BUG,
)


def document(catalog: Catalog, *, max_events: int, orders: EventType | None = None) -> Json:
    """The whole document. `orders` is the event type of orders, where they are taken."""
    refs, definitions = models_json_schema(
        [(one.model, "validation") for one in catalog], ref_template=_SCHEMAS + "{model}"
    )
    models = {one.name: refs[(one.model, "validation")] for one in catalog}
    _, answers = msgspec.json.schema_components([PublishReport], ref_template=_SCHEMAS + "{name}")
    schemas: Json = {
        **definitions.get("$defs", {}),
        **answers,
        "EventFields": {"type": "object", "properties": ENVELOPE},
        "Problem": _problem_schema(),
        "NoneAccepted": {"allOf": [_ref("Problem"), _ref("PublishReport")]},
    }
    paths: Json = {}
    for one in catalog:
        schemas[_plain(one)] = _plain_schema(one, models[one.name])
        schemas[_cloud(one)] = _cloud_schema(one, models[one.name])
        paths[f"/v1/events/{one.name}"] = {
            "post": {
                "summary": f"Publish {one.name}",
                "description": one.model.__doc__ or "",
                "operationId": f"publish_{one.name}",
                "requestBody": _body([_ref(_plain(one))], [_ref(_cloud(one))], max_events, example_of(one)),
                "responses": _publish_responses(),
            }
        }
    plain = [{"allOf": [_ref(_plain(one)), {"required": ["event_type"]}]} for one in catalog]
    paths["/v1/events"] = {
        "post": {
            "summary": "Publish events, each of which names its own type",
            "operationId": "publish_events",
            "requestBody": _body(plain, [_ref(_cloud(one)) for one in catalog], max_events, None),
            "responses": _publish_responses(),
        }
    }
    if orders is not None:
        _, order_answer = msgspec.json.schema_components([OrderAnswer], ref_template=_SCHEMAS + "{name}")
        schemas |= {**order_answer, "InvalidOrder": _invalid_order_schema()}
        paths["/v1/orders"] = {"post": _placing(orders)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "FlowGuard gateway",
            "version": __version__,
            "description": "Events in over HTTP. 202 means that they are durable, and land exactly once.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {**paths, **_reading_paths()},
        "components": {"schemas": schemas},
    }


def _ref(name: str) -> Json:
    return {"$ref": _SCHEMAS + name}


def _plain(event_type: EventType) -> str:
    return f"{event_type.name}.event"


def _cloud(event_type: EventType) -> str:
    return f"{event_type.name}.cloudevent"


def _plain_schema(event_type: EventType, model: Json) -> Json:
    named = {"type": "object", "properties": {"event_type": {"const": event_type.name}}}
    return {"allOf": [_ref("EventFields"), model, named]}


def _cloud_schema(event_type: EventType, model: Json) -> Json:
    return {
        "type": "object",
        "description": "CloudEvents 1.0, structured. Other extension attributes are not kept.",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": _TEXT,
            "source": _TEXT,
            "type": {"const": event_type.name},
            "time": ENVELOPE["occurred_at"],
            "subject": ENVELOPE["subject"],
            "schemaversion": ENVELOPE["schema_version"],
            "data": model,
        },
        "required": ["specversion", "id", "source", "type", "data"],
    }


def _body(plain: list[Json], cloud: list[Json], max_events: int, example: Json | None) -> Json:
    def content(some: list[Json]) -> Json:
        one = some[0] if len(some) == 1 else {"anyOf": some}
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": max_events}]}

    json: Json = {"schema": content(plain)}
    if example is not None:
        json["example"] = example
    lines = {"schema": {"type": "string", "description": "one event a line"}}
    return {
        "required": True,
        "content": {
            "application/json": json,
            "application/x-ndjson": lines,
            "application/cloudevents+json": {"schema": content(cloud)},
        },
    }


def _publish_responses() -> Json:
    return {
        "202": _answer("Durable: a verdict on each event. Some may be rejected.", "PublishReport"),
        "422": _answer("None was accepted: a verdict on each event.", "NoneAccepted", problems.MEDIA_TYPE),
        **_problem_responses(_REFUSALS),
    }


def _placing(orders: EventType) -> Json:
    json: Json = {"schema": _ref(_plain(orders))}
    if (example := example_of(orders)) is not None:
        json["example"] = example
    key = {
        "name": KEY_HEADER,
        "in": "header",
        "description": "Names this request, however often it is sent: it is carried out once, and gets the first answer"
        " each time.",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[A-Za-z0-9._:-]+$"},
    }
    repeated = {"description": "Where this is a repeated answer: true.", "schema": {"const": "true"}}
    placed = _answer("The order and its event are durable, and the event lands exactly once.", "OrderAnswer")
    return {
        "summary": "Place an order",
        "description": "The order is stored, and in the same transaction its event, which then goes to the log.",
        "operationId": "place_order",
        "parameters": [key],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": json,
                "application/cloudevents+json": {"schema": _ref(_cloud(orders))},
            },
        },
        "responses": {
            "201": {**placed, "headers": {REPEATED_HEADER: repeated}},
            "422": _answer(
                "The order does not fit, or the key belongs to another.", "InvalidOrder", problems.MEDIA_TYPE
            ),
            **_problem_responses((*_REFUSALS, problems.ORDER_EXISTS)),
        },
    }


def _invalid_order_schema() -> Json:
    """Of a key that belongs to another request, there are no errors to tell."""
    errors = {"type": "array", "items": _ref("EventFault")}
    return {"allOf": [_ref("Problem"), {"type": "object", "properties": {"errors": errors}}]}


def _problem_responses(kinds: Iterable[problems.Kind]) -> Json:
    return {str(one.status): _answer(one.title, "Problem", problems.MEDIA_TYPE) for one in kinds}


def _answer(text: str, schema: str, media_type: str = "application/json") -> Json:
    return {"description": text, "content": {media_type: {"schema": _ref(schema)}}}


def _problem_schema() -> Json:
    return {
        "type": "object",
        "description": "RFC 9457.",
        "properties": {
            "type": {"enum": [one.uri for one in problems.KINDS]},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "what is wrong with this request, and how to mend it"},
        },
        "required": ["type", "title", "status", "detail"],
    }


def _reading_paths() -> Json:
    health = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status", "version"]}
    status = {"type": "object", "properties": {"streams": {"type": "object"}}, "required": ["streams"]}

    def get(name: str, summary: str, ok: Json, *refusals: problems.Kind) -> Json:
        good = {"description": summary, "content": ok}
        responses = {"200": good, **_problem_responses((*refusals, problems.BUG))}
        return {"get": {"summary": summary, "operationId": name, "responses": responses}}

    def json(schema: Json) -> Json:
        return {"application/json": {"schema": schema}}

    text = {"schema": {"type": "string"}}
    return {
        "/v1/status": get("status", "The streams in figures", json(status), problems.UNAVAILABLE),
        "/v1/stream": get("stream", "The same each second, as server-sent events", {"text/event-stream": text}),
        "/health/live": get("live", "The process answers", json(health)),
        "/health/ready": get("ready", "The log takes events", json(health), problems.NOT_READY),
        "/health": get("health", "All parts", json(health), problems.NOT_READY),
    }
