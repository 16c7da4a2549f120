"""The memory sink's storage, with rows that it refuses for good though they could be decoded."""

from __future__ import annotations

from flowguard.adapters.memory import MemoryWarehouse
from flowguard.adapters.memory.warehouse import Table
from flowguard.domain.catalog import EventType
from flowguard.domain.errors import RowFault
from flowguard.domain.rows import Rows
from tests.simulation.streams import UNWANTED


class _PickyTable(Table):
    def refusals(self, rows: Rows) -> list[RowFault]:
        return [
            RowFault(rows.partition, offset, "note: not wanted here")
            for offset, row in zip(rows.offsets, rows.values, strict=True)
            if row[-1] == UNWANTED
        ]


class SimWarehouse(MemoryWarehouse):
    """Picky about notes."""

    def table(self, event_type: EventType) -> Table:
        found = self._tables.get(event_type.name)
        if found is None:
            found = self._tables[event_type.name] = _PickyTable(event_type)
        return found
