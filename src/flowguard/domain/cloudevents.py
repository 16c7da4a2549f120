"""CloudEvents in log records: the structured mode (all of it in the value) and the binary one (attributes in headers).

As the CloudEvents Kafka protocol binding 1.0 has it. The receiver tells them apart by the headers: a `content-type` of
`application/cloudevents...` is structured, else `ce_specversion` makes it binary. FlowGuard's own records are
structured and say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flowguard.domain.events import Envelope
from flowguard.domain.ingestion import Headers

_PREFIX = "ce_"
_CONTENT_TYPE = "content-type"
_STRUCTURED = b"application/cloudevents"
_JSON_FORMATS = (_STRUCTURED, b"application/cloudevents+json")
_REQUIRED = frozenset({"id", "source", "type", "time"})
_ATTRIBUTES = {f"{_PREFIX}{name}": name for name in ("specversion", *sorted(_REQUIRED), "schemaversion", "subject")}
_INT_DIGITS = 10  # of the largest schema version

_structured = msgspec.json.Decoder(Envelope).decode
_json_value = msgspec.json.Decoder(msgspec.Raw).decode


def event_of(headers: Headers, value: bytes) -> Envelope:
    """The event of a record in either mode. Both modes of one event give the same envelope.

    Names of headers are read in any case (the binding leaves it open, and producers differ); of headers with the same
    name the last one counts. Attributes that an envelope does not have are passed over, as in the structured mode.
    Raises ValueError (msgspec's errors are such) and RecursionError for what is no event in JSON; the text says why.
    """
    if not headers:
        return _structured(value)
    found = {name.lower(): content for name, content in headers}
    media_type = found.get(_CONTENT_TYPE, b"").partition(b";")[0].strip().lower()
    if media_type.startswith(_STRUCTURED):
        if media_type not in _JSON_FORMATS:
            raise ValueError(f"the content type is {_shown(media_type)}: of CloudEvents, only the JSON format is read")
        return _structured(value)
    if f"{_PREFIX}specversion" not in found:
        return _structured(value)
    # Parameters say nothing: JSON is UTF-8 (RFC 8259).
    if media_type not in (b"", b"application/json") and not media_type.endswith(b"+json"):
        raise ValueError(f"the content type is {_shown(media_type)}: only JSON can land (application/json)")
    return _binary(found, value)


def binary_of(value: bytes) -> tuple[bytes, Headers]:
    """(value, headers) in binary mode of an event in structured mode, as FlowGuard writes it.

    Raises what msgspec raises where it is none.
    """
    envelope = _structured(value)
    headers = [
        (f"{_PREFIX}specversion", b"1.0"),
        (f"{_PREFIX}id", envelope.id.encode()),
        (f"{_PREFIX}source", envelope.source.encode()),
        (f"{_PREFIX}type", envelope.type.encode()),
        (f"{_PREFIX}time", msgspec.to_builtins(envelope.time).encode()),
        (f"{_PREFIX}schemaversion", b"%d" % envelope.schemaversion),
        (_CONTENT_TYPE, b"application/json"),
    ]
    if envelope.subject is not None:
        headers.append((f"{_PREFIX}subject", envelope.subject.encode()))
    return bytes(envelope.data), tuple(headers)


def _binary(found: Mapping[str, bytes], value: bytes) -> Envelope:
    attributes: dict[str, object] = {}
    for header, name in _ATTRIBUTES.items():
        content = found.get(header)
        if content is None:
            continue
        try:
            attributes[name] = content.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"the header {header} is not UTF-8: {error.reason}") from error
    version = attributes.get("schemaversion")
    if isinstance(version, str) and version.isascii() and version.isdigit() and len(version) <= _INT_DIGITS:
        attributes["schemaversion"] = int(version)
    try:
        # One JSON value, without what stands around it: `1, 2` would be two of them among its neighbours.
        attributes["data"] = _json_value(value)
    except msgspec.DecodeError as error:
        raise ValueError(f"the value, which is its data, is no JSON: {error}") from error
    try:
        return msgspec.convert(attributes, Envelope)
    except msgspec.ValidationError as error:
        if missing := sorted(_REQUIRED - attributes.keys()):
            text = f"a CloudEvent in binary mode, without {', '.join(f'{_PREFIX}{name}' for name in missing)}"
            raise ValueError(text) from error
        raise ValueError(str(error).replace("`$.", f"`{_PREFIX}")) from error


def _shown(media_type: bytes) -> str:
    return repr(media_type[:100].decode(errors="replace"))
