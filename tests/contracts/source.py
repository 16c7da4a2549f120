"""What every EventSource must do."""

from __future__ import annotations

from typing import ClassVar

from flowguard.ports.source import EventSource
from tests.contracts.source_group import SourceGroup
from tests.contracts.source_reading import SourceReading
from tests.contracts.source_shared import SharedGroupContract
from tests.contracts.storage import LogStorage

__all__ = ["SharedGroupContract", "SourceContract"]


class SourceContract(SourceReading, SourceGroup):
    """Set `adapter`, and give the fixture `storage`, a fresh LogStorage."""

    adapter: ClassVar[type[EventSource]]

    def test_the_storage_gives_sources_of_the_adapter(self, storage: LogStorage) -> None:
        source = storage.source(["raw.things.v1"])
        assert isinstance(source, self.adapter)
        source.close()
