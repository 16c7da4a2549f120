"""A whole pipeline in a test's hands: the container's own parts, driven step by step in one thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

from flowguard.container import Container
from flowguard.domain.batching import BatchPolicy
from flowguard.domain.catalog import EventType
from flowguard.domain.ingestion import Headers
from flowguard.ports.publisher import NewRecord
from flowguard.settings import Settings
from tests.builders import event

DEADLINE_S = 20.0


class Pipeline:
    """On memory or sqlite. `log` appends, `ingest` lands all of it, and what the container makes looks at it."""

    def __init__(self, kind: str, folder: Path, *, partitions: int = 1, catalog: str = "") -> None:
        memory = "memory://" if kind == "memory" else ""
        settings = Settings(
            data_dir=folder,
            log_url=memory,
            sink_url=memory,
            partitions=partitions,
            catalog=catalog,
            batch=BatchPolicy(max_records=100, max_age_s=0.0),
        )
        self.container = Container(settings=settings)
        self.prepare()

    def prepare(self) -> None:
        self.container.migrate()
        self.container.event_log().ensure(self.container.topics())

    def log(self, event_type: EventType, values: Iterable[bytes], headers: Headers = ()) -> None:
        async def publish() -> None:
            publisher = self.container.publisher()
            await publisher.publish(event_type.topic, [NewRecord(None, value, headers) for value in values])
            await publisher.close()

        asyncio.run(publish())

    def log_events(self, event_type: EventType, ids: Iterable[str]) -> None:
        self.log(event_type, [event(event_type, one) for one in ids])

    def ingest(self) -> None:
        """Until there is no lag."""
        ingestion = self.container.ingestion()
        deadline = time.monotonic() + DEADLINE_S
        observer = self.container.observer()
        try:
            while any(one["lag"] for one in observer.status()["streams"].values()):
                assert time.monotonic() < deadline, observer.status()
                ingestion.step()
                observer = self.container.observer()
            ingestion.drain()
        finally:
            ingestion.close()

    def close(self) -> None:
        with self.container.closing():
            pass
