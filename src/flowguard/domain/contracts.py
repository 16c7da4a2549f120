"""Schema contracts, carried out: rows are made to fit tables that lack columns of their model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from flowguard.domain.catalog import EventType, SchemaContract
from flowguard.domain.columns import METADATA, columns_of
from flowguard.domain.errors import PermanentError, RowFault
from flowguard.domain.rows import Filtered, Rows, SinkBatch
from flowguard.domain.telemetry import ColumnsAdded, RowsDiscarded, SchemaHappening, ValuesDiscarded

Look = Callable[[EventType], Collection[str]]
"""The columns of its table in lower case; none where there is no table. May raise what the sink's methods raise."""

Add = Callable[[EventType, Collection[str]], None]
"""Adds these columns of its model (in lower case), nullable, where they are not there yet. May raise as `Look`."""

NONE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Fitted:
    """A batch that its tables can hold.

    `lacking`: the columns (in lower case) that tables lack, by name of the event type; the rows in `batch` are without
    their values. `told`: what was done about it, to be told once the batch has landed.
    """

    batch: SinkBatch
    lacking: Mapping[str, frozenset[str]]
    told: tuple[SchemaHappening, ...]

    def lacks(self, event_type: EventType) -> frozenset[str]:
        return self.lacking.get(event_type.name, NONE)


class SchemaContracts:
    """Knows what tables lack, and fits batches to them by the contract of each event type, or else by `default`.

    For sinks: `look` and `add` are all that differs between them. A table that has every column is looked at once,
    until `forget`; one that lacks some at every batch, because somebody may migrate. Only fields of the model are
    looked for: metadata is never optional.
    """

    def __init__(self, default: SchemaContract, look: Look, add: Add) -> None:
        self._default = default
        self._look = look
        self._add = add
        self._complete: set[EventType] = set()
        self._added: list[ColumnsAdded] = []

    def contract_of(self, event_type: EventType) -> SchemaContract:
        return event_type.schema_contract or self._default

    def lacks(self, event_type: EventType) -> frozenset[str]:
        """The columns that its table lacks now; none where there is no table at all."""
        found = self._look(event_type)
        return frozenset(_fields(event_type)) - frozenset(found) if found else NONE

    def fit(self, batch: SinkBatch) -> Fitted:
        """The batch as it can be written. Raises what `look` and `add` raise, and PermanentError with rows (freeze)."""
        types = {rows.event_type for rows in batch.rows} - self._complete
        lacking = {one.name: missing for one in types if (missing := self._still_lacks(one))}
        if lacking:
            batch, told = fitted(batch, lacking, self.contract_of)
            return Fitted(batch, lacking, (*self._added, *told))
        return Fitted(batch, lacking, tuple(self._added))

    def landed(self) -> None:
        """What `fit` told last has been passed on."""
        self._added.clear()

    def forget(self) -> bool:
        """Look at every table anew: a column that was there is not. False where nothing was taken for known."""
        known = bool(self._complete)
        self._complete.clear()
        return known

    def _still_lacks(self, event_type: EventType) -> frozenset[str]:
        missing = self.lacks(event_type)
        if missing and self.contract_of(event_type) is SchemaContract.EVOLVE:
            self._add(event_type, missing)
            self._added.append(ColumnsAdded(event_type.name, tuple(sorted(missing))))
            missing = NONE
        if not missing:
            self._complete.add(event_type)
        return missing


def fitted(
    batch: SinkBatch, lacking: Mapping[str, frozenset[str]], contract_of: Callable[[EventType], SchemaContract]
) -> tuple[SinkBatch, list[SchemaHappening]]:
    """The batch without the values that have no column, and what to tell.

    `lacking` are columns in lower case, by name of the event type. Raises PermanentError that names the rows with such
    values, where the contract refuses them.
    """
    rows: list[Rows] = []
    filtered = [*batch.filtered]
    refused: list[RowFault] = []
    counts: Counter[EventType] = Counter()
    for some in batch.rows:
        missing = lacking.get(some.event_type.name, NONE)
        at = frozenset(index for index, name in enumerate(_names(some.event_type)) if name in missing)
        affected = [index for index, row in enumerate(some.values) if any(row[one] is not None for one in at)]
        left: Iterable[int] = range(len(some.values))
        if affected:
            counts[some.event_type] += len(affected)
            offsets = [some.offsets[index] for index in affected]
            match contract_of(some.event_type):
                case SchemaContract.DISCARD_ROW:
                    filtered.append(Filtered(some.event_type, some.partition, some.incarnation, offsets))
                    left = set(left).difference(affected)
                case SchemaContract.FREEZE | SchemaContract.EVOLVE:
                    why = _refusal(some.event_type, missing)
                    refused += [RowFault(some.partition, offset, why) for offset in offsets]
                case SchemaContract.DISCARD_VALUE:
                    pass
        rows.append(_narrowed(some, sorted(left), at) if at else some)
    if refused:
        raise PermanentError(f"{refused[0].error} ({len(refused)} such in the batch)", refused)
    told: list[SchemaHappening] = [
        _DISCARDED[contract_of(one)](one.name, tuple(sorted(lacking[one.name])), count) for one, count in counts.items()
    ]
    return replace(batch, rows=tuple(some for some in rows if some.values), filtered=tuple(filtered)), told


_DISCARDED: Final[Mapping[SchemaContract, type[ValuesDiscarded | RowsDiscarded]]] = {
    SchemaContract.DISCARD_VALUE: ValuesDiscarded,
    SchemaContract.DISCARD_ROW: RowsDiscarded,
}


def _narrowed(rows: Rows, left: Sequence[int], without: frozenset[int]) -> Rows:
    """These of the rows, without these of their values."""
    kept = [index for index in range(len(_names(rows.event_type))) if index not in without]
    values = [tuple(rows.values[index][one] for one in kept) for index in left]
    return replace(rows, offsets=[rows.offsets[index] for index in left], values=values)


def _refusal(event_type: EventType, missing: Collection[str]) -> str:
    return (
        f"table {event_type.table} has no column {', '.join(sorted(missing))} (schema contract freeze): run"
        " `flowguard migrate`, then `flowguard dlq replay`"
    )


def _names(event_type: EventType) -> list[str]:
    return [*(column.name for column in METADATA), *_fields(event_type)]


def _fields(event_type: EventType) -> list[str]:
    return [column.name.lower() for column in columns_of(event_type.model)]
