"""The embedded log as processes share it, and as they leave it when they are killed."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest

from flowguard.adapters.sqlite import source
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.ingestion import TopicPartition
from tests.adapters.sqlite.processes import TOPIC, end, start
from tests.adapters.sqlite.storage import SqliteLogStorage
from tests.contracts.log_case import Member, publish, read_all, things

PLACES = [TopicPartition(TOPIC, partition) for partition in range(3)]


def acknowledged(lines: Iterable[str]) -> dict[tuple[int, int], bytes]:
    """Values by (partition, offset); a line that was cut off by a kill acknowledges nothing."""
    whole = [line.split() for line in lines if line.endswith("\n")]
    return {(int(partition), int(offset)): value.encode() for value, partition, offset in whole}


@pytest.fixture
def storage(tmp_path: Path) -> SqliteLogStorage:
    storage = SqliteLogStorage(tmp_path)
    storage.event_log().ensure({TOPIC: len(PLACES)})
    return storage


def logged(storage: SqliteLogStorage) -> dict[tuple[int, int], bytes]:
    log = storage.event_log()
    return {
        (place.partition, offset): value
        for place in PLACES
        for run in read_all(log, place)
        for offset, value in zip(run.offsets, run.values, strict=True)
    }


@pytest.mark.parametrize("lines", [1, 300, 1_500])
def test_a_kill_in_the_middle_of_publishing_loses_nothing_acknowledged(storage: SqliteLogStorage, lines: int) -> None:
    process = start("publish", storage.path, "victim", 100_000, 7)
    assert process.stdout is not None
    heard = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    heard += process.communicate(timeout=60)[0].splitlines(keepends=True)
    assert process.returncode == -signal.SIGKILL
    told = acknowledged(heard)
    assert len(told) >= lines
    found = logged(storage)
    assert {place: found.get(place) for place in told} == told
    assert len(set(found.values())) == len(found)
    # Of a call, all or nothing is there.
    calls = [value.rpartition(b"/")[0] for value in found.values()]
    assert {calls.count(call) for call in set(calls)} == {7}
    end(start("publish", storage.path, "next", 4, 1))
    assert len(logged(storage)) == len(found) + 4
    storage.close()


def test_processes_publish_into_the_same_partitions_at_once(storage: SqliteLogStorage) -> None:
    processes = [start("publish", storage.path, name, 200, 5) for name in ("one", "two")]
    member = Member(storage.source([TOPIC]))
    while len(member.values()) < 2_000:
        member.poll(1.0)
        assert all(process.poll() in {None, 0} for process in processes)
    told = acknowledged(line for process in processes for line in end(process).splitlines(keepends=True))
    assert len(told) == 2_000
    read = {
        (run.partition.partition, offset): value
        for run in member.runs
        for offset, value in zip(run.offsets, run.values, strict=True)
    }
    assert read == told == logged(storage)
    for place in PLACES:
        ends = [offset for partition, offset in told if partition == place.partition]
        assert storage.event_log().logged(place) == OffsetRanges([(0, max(ends))])
        assert member.offsets(place) == list(range(max(ends) + 1))
    storage.close()


def test_a_reader_that_waits_is_woken_at_once_by_its_own_process(
    storage: SqliteLogStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_LOOK_S", 1e9)  # it never looks by itself
    member = Member(storage.source([TOPIC]))
    member.poll(0.0)
    began = monotonic()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(member.poll, 30.0)
        publish(storage, things("a"))
        assert waiting.result()
    assert monotonic() - began < 30
    storage.close()


def test_a_reader_that_waits_notices_another_process(storage: SqliteLogStorage) -> None:
    member = Member(storage.source([TOPIC]))
    member.poll(0.0)
    began = monotonic()
    process = start("publish", storage.path, "another", 1, 1)
    assert member.poll(30.0)
    assert monotonic() - began < 30
    end(process)
    storage.close()


def test_a_batch_goes_to_the_end_of_its_partition_only(storage: SqliteLogStorage) -> None:
    """The tables hold it, whatever a writer believes."""
    for base in (1, -1):
        with pytest.raises(Exception, match="to the end of its partition only"):
            storage.execute(
                "INSERT INTO fg_batches (topic, partition, base_offset, last_offset, appended_ms, bytes, body)"
                " VALUES (1, 0, ?, ?, 0, 1, x'00')",
                base,
                base,
            )
    storage.close()
