"""What the tests of the decoder share: records in, rows and rejections out."""

from __future__ import annotations

import json
from collections.abc import Mapping

from flowguard.domain.batching import Batch
from flowguard.domain.catalog import Catalog, EventType
from flowguard.domain.columns import METADATA
from flowguard.domain.dead_letters import Reason
from flowguard.domain.decoding import BatchDecoder, Decoded
from flowguard.domain.ingestion import Claim, Headers, TopicPartition
from tests.builders import CLICKS, NOW, place, run

HERE = place(CLICKS)


def lone(event_type: EventType) -> BatchDecoder:
    return BatchDecoder(Catalog([event_type]))


def wrap(event_type: EventType, data: object, version: int | None = None, **changes: object) -> bytes:
    """The data in an envelope, as the standard library writes it."""
    fields = {
        "specversion": "1.0",
        "id": "e",
        "source": "s",
        "type": event_type.name,
        "time": "2026-01-02T03:04:05Z",
        "schemaversion": version or event_type.version,
        "data": data,
    }
    return json.dumps({**fields, **changes}).encode()


def decode(
    decoder: BatchDecoder,
    values: list[bytes] | Mapping[int, bytes],
    where: TopicPartition = HERE,
    *,
    excluded: frozenset[int] = frozenset(),
    headers: Mapping[int, Headers] | None = None,
    incarnation: int = 1,
) -> Decoded:
    records = values if isinstance(values, Mapping) else dict(enumerate(values))
    batch = Batch(1, (run(where, records, headers),), frozenset((where, offset) for offset in excluded))
    return decoder.decode(batch, {where: Claim(where, incarnation, 1, None)}, NOW)


def offsets(decoded: Decoded) -> list[int]:
    return [offset for rows in decoded.rows for offset in rows.offsets]


def column(decoded: Decoded, name: str) -> list[object]:
    """The values of one column, over all rows."""
    found = []
    for rows in decoded.rows:
        names = [*(one.name for one in METADATA), *rows.event_type.model.model_fields]
        found += [value[names.index(name)] for value in rows.values]
    return found


def bad(decoded: Decoded) -> dict[int, Reason]:
    assert len({one.offset for one in decoded.rejections}) == len(decoded.rejections)
    return {one.offset: one.reason for one in decoded.rejections}
