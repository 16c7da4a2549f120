"""What a table that lacks columns costs, by contract: nothing that is not told."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from flowguard.domain.catalog import EventType, SchemaContract
from flowguard.domain.columns import METADATA
from flowguard.domain.contracts import SchemaContracts, fitted
from flowguard.domain.errors import PermanentError
from flowguard.domain.ingestion import TopicPartition
from flowguard.domain.rows import Rows, SinkBatch
from flowguard.domain.telemetry import ColumnsAdded, RowsDiscarded, ValuesDiscarded

PLACE = TopicPartition("raw.things.v1", 0)


class Thing(BaseModel):
    name: str
    Size: int | None = None
    colour: str | None = None


THINGS = EventType("things", Thing, key="name")
VALUES = st.tuples(st.text(max_size=3), st.none() | st.integers(0, 9), st.none() | st.text(max_size=3))
MISSING = st.frozensets(st.sampled_from(["size", "colour"]), min_size=1)


def things(values: list[tuple[object, ...]], first: int = 0) -> Rows:
    metadata = tuple(f"m{index}" for index in range(len(METADATA)))
    return Rows(THINGS, PLACE, 1, [*range(first, first + len(values))], [(*metadata, *one) for one in values])


def lost(values: tuple[object, ...], missing: frozenset[str]) -> bool:
    return ("size" in missing and values[1] is not None) or ("colour" in missing and values[2] is not None)


@given(st.lists(VALUES, max_size=6), st.lists(VALUES, max_size=6), MISSING, st.sampled_from(SchemaContract))
def test_every_value_without_a_column_is_told_refused_or_filtered(
    first: list[tuple[object, ...]],
    second: list[tuple[object, ...]],
    missing: frozenset[str],
    contract: SchemaContract,
) -> None:
    batch = SinkBatch((things(first), things(second, 100)), ())
    every = {offset: row for some in batch.rows for offset, row in zip(some.offsets, some.values, strict=True)}
    affected = {offset for offset, row in every.items() if lost(row[len(METADATA) :], missing)}
    if affected and contract in {SchemaContract.FREEZE, SchemaContract.EVOLVE}:
        with pytest.raises(PermanentError) as caught:
            fitted(batch, {"things": missing}, lambda one: contract)
        assert {one.offset for one in caught.value.rows} == affected
        return
    left, told = fitted(batch, {"things": missing}, lambda one: contract)
    landed = {offset: row for some in left.rows for offset, row in zip(some.offsets, some.values, strict=True)}
    filtered = set(chain.from_iterable(one.offsets for one in left.filtered))
    assert landed.keys() | filtered == every.keys()
    assert not landed.keys() & filtered
    assert all(some.values for some in left.rows)
    if contract is SchemaContract.DISCARD_ROW:
        assert filtered == affected
        kind: type[ValuesDiscarded | RowsDiscarded] = RowsDiscarded
    else:
        assert not filtered
        assert affected == set() or contract is SchemaContract.DISCARD_VALUE
        kind = ValuesDiscarded
    assert told == ([kind("things", tuple(sorted(missing)), len(affected))] if affected else [])
    names = [*(column.name for column in METADATA), "name", "size", "colour"]
    for offset, row in landed.items():
        assert row == tuple(value for name, value in zip(names, every[offset], strict=True) if name not in missing)


class Tables:
    """A sink's tables, as the contracts see them."""

    def __init__(self, columns: Mapping[str, set[str]]) -> None:
        self.columns = dict(columns)
        self.looks = 0

    def look(self, event_type: EventType) -> set[str]:
        self.looks += 1
        return {*self.columns.get(event_type.name, set())}

    def add(self, event_type: EventType, missing: object) -> None:
        assert isinstance(missing, frozenset)
        self.columns[event_type.name] |= missing


def contracts(tables: Tables, contract: SchemaContract = SchemaContract.EVOLVE) -> SchemaContracts:
    return SchemaContracts(contract, tables.look, tables.add)


BATCH = SinkBatch((things([("a", 1, None)]),), ())
ALL = {"name", "size", "colour"}


def test_a_complete_table_is_looked_at_once_and_its_batch_left_alone() -> None:
    tables = Tables({"things": ALL})
    ours = contracts(tables)
    for _ in range(3):
        assert ours.fit(BATCH).batch is BATCH
    assert tables.looks == 1
    assert ours.forget()
    assert not ours.forget()
    ours.fit(BATCH)
    assert tables.looks == 2


def test_a_table_that_lacks_columns_is_looked_at_until_somebody_migrates() -> None:
    tables = Tables({"things": {"name"}})
    ours = contracts(tables, SchemaContract.DISCARD_VALUE)
    for _ in range(2):
        assert ours.fit(BATCH).lacks(THINGS) == {"size", "colour"}
    tables.columns["things"] = ALL
    assert ours.fit(BATCH).batch is BATCH


def test_added_columns_are_told_until_a_batch_has_landed() -> None:
    tables = Tables({"things": {"name", "size"}})
    ours = contracts(tables)
    for _ in range(2):
        assert ours.fit(BATCH).told == (ColumnsAdded("things", ("colour",)),)
    ours.landed()
    assert ours.fit(BATCH).told == ()
    assert tables.columns["things"] == ALL


@pytest.mark.parametrize("contract", SchemaContract)
def test_a_table_that_is_not_there_is_left_to_the_sink_to_miss(contract: SchemaContract) -> None:
    tables = Tables({})
    assert contracts(tables, contract).fit(BATCH).batch is BATCH
    assert tables.columns == {}
