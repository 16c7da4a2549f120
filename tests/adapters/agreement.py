"""One technology's adapters, driven by simple verbs whose answers can be compared with another's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace

from flowguard.domain.columns import METADATA, Column, columns_of
from flowguard.domain.dead_letters import DeadLetter
from flowguard.domain.errors import FencedError, FlowGuardError, PermanentError
from flowguard.domain.ingestion import Assignment, Claim, IngestionId, Position, RecordRun, TopicPartition
from flowguard.domain.rows import SinkBatch
from flowguard.ports.dead_letters import State
from flowguard.ports.publisher import NewRecord
from tests.builders import CATALOG, NOW
from tests.contracts.ledger import means
from tests.contracts.log_case import Member, read_all
from tests.contracts.storage import DeadLetterStorage, LogStorage, SinkStorage

GROUP = "flowguard"


class Side:
    """Adapters on three storages. What differs for good reason (topic ids) is told by the order of its appearance."""

    def __init__(self, log: LogStorage, sink: SinkStorage, letters: DeadLetterStorage, topics: dict[str, int]) -> None:
        self._log_storage, self._sink_storage, self._letter_storage = log, sink, letters
        self._topics = topics
        self._topic_ids: list[str] = []
        self._skipped: set[TopicPartition] = set()
        self._loop = asyncio.Runner()
        self._open()
        self.log.ensure(topics)

    def _open(self) -> None:
        self.log = self._log_storage.event_log()
        self.member = Member(self._log_storage.source(sorted(self._topics)), resumes=False)
        self.sink = self._sink_storage.sink()
        self.ledger = self._sink_storage.ledger()
        self.letters = self._letter_storage.dead_letters()
        self._publisher = self._log_storage.publisher()

    def close(self, *, crash: bool = False) -> None:
        if crash:
            self._log_storage.expire(self.member.source)
        self.member.source.close()
        self._loop.run(self._publisher.close())
        for adapter in (self.sink, self.log, self.letters):
            adapter.close()

    def end(self) -> None:
        self.close()
        self._loop.close()

    def restart(self, *, crash: bool) -> None:
        self.close(crash=crash)
        self._open()

    # -- the log -----------------------------------------------------------------------------------------------------

    def publish(self, topic: str, records: Sequence[NewRecord]) -> tuple[int, list[tuple[int, int]]]:
        receipt = self._loop.run(self._publisher.publish(topic, records))
        return self._making(receipt.topic_id), list(receipt.places)

    def make_again(self, topic: str) -> object:
        self._log_storage.delete_topic(topic)
        gone = self.log.describe(topic, GROUP)
        self._skipped = {place for place in self._skipped if place.topic != topic}
        return gone, list(self.log.ensure({topic: self._topics[topic]}))

    def skip(self, place: TopicPartition, number: int) -> None:
        self._log_storage.skip_offsets(place, number)
        self._skipped.add(place)

    def truncate(self, place: TopicPartition, before: int) -> None:
        self._log_storage.truncate(place, before)

    def read(self, place: TopicPartition) -> list[RecordRun]:
        return read_all(self.log, place)

    def end_of(self, place: TopicPartition) -> int:
        described = self.log.describe(place.topic, GROUP)
        assert described is not None
        return described.spans[place.partition].next_offset

    # -- the group ---------------------------------------------------------------------------------------------------

    def poll(self) -> object:
        """Until there is no more; what was told, and what was read of each partition."""
        member = self.member
        told, runs = len(member.told), len(member.runs)
        quiet = 0
        while quiet < 3:
            quiet = 0 if member.poll(0.0) else quiet + 1
        read: dict[TopicPartition, list[object]] = {}
        for run in member.runs[runs:]:
            read.setdefault(run.partition, []).extend(_each(run))
        return [(how, sorted(places)) for how, places in member.told[told:]], read, self.owned()

    def owned(self) -> object:
        return {place: self._making(topic_id) for place, topic_id in self.member.owned.items()}

    # -- the sink ----------------------------------------------------------------------------------------------------

    def claim(self, owner: str, places: Iterable[TopicPartition]) -> list[Claim]:
        wanted = [Assignment(place, self._topic_id(place.topic)) for place in places]
        return list(self.sink.claim(owner, wanted))

    def write(self, batch: SinkBatch) -> object:
        """The report, or what was refused. Rows need not be named; whoever names one names the right one."""
        try:
            merged = self.sink.write(batch).merged
        except FencedError as error:
            return "fenced", sorted(error.partitions)
        except PermanentError as error:
            return "refused", bool(str(error))
        return {stream: astuple(one) for stream, one in merged.items() if one.inserted or one.duplicates}

    # -- dead letters ------------------------------------------------------------------------------------------------

    def put(self, letters: Sequence[DeadLetter]) -> None:
        self.letters.put(letters, NOW)

    def mark(self, ids: Sequence[IngestionId], state: State) -> int:
        return self.letters.mark(ids, state, NOW)

    # -- everything that can be told ---------------------------------------------------------------------------------

    def commit(self, positions: Sequence[Position]) -> object:
        try:
            self.member.source.commit(positions)
        except FlowGuardError as error:
            return type(error)
        return None

    def account(self) -> dict[str, object]:
        told: dict[str, object] = {"letters": list(self.letters.page(limit=1_000))}
        told["positions"] = sorted(
            astuple(replace(one, topic_id=str(self._making(one.topic_id)))) for one in self.ledger.positions()
        )
        for event_type in CATALOG:
            name, columns = event_type.name, _columns(event_type.name)
            told[f"{name}: summary"] = self.ledger.summary(event_type)
            told[f"{name}: doubled"] = list(self.ledger.doubled(event_type))
            told[f"{name}: rows"] = [
                means(columns, tuple(row[column.name] for column in columns))
                for row in self.ledger.recent(event_type, 1_000)
            ]
            described = self.log.describe(event_type.topic, GROUP)
            if described is None:
                continue
            told[f"{name}: topic"] = self._making(described.topic_id), list(described.spans)
            for span in described.spans:
                place = span.partition
                told[f"{place}: records"] = [one for run in self.read(place) for one in _each(run)]
                if (
                    place not in self._skipped
                ):  # a log without transactions counts every offset as one that held a record
                    told[f"{place}: logged"] = self.log.logged(place)
                for incarnation in (1, 2, 3):
                    offsets = self.ledger.offsets(event_type, place, incarnation)
                    told[f"{place}@{incarnation}: landed"] = offsets.landed
                    # An offset that was both, once each, is resolved: which one is told of it makes no difference.
                    told[f"{place}@{incarnation}: absorbed"] = offsets.duplicates | offsets.filtered
                    told[f"{place}@{incarnation}: letters"] = self.letters.offsets(place, incarnation)
        return told

    def _making(self, topic_id: str) -> int:
        if topic_id not in self._topic_ids:
            self._topic_ids.append(topic_id)
        return self._topic_ids.index(topic_id)

    def _topic_id(self, topic: str) -> str:
        described = self.log.describe(topic, GROUP)
        assert described is not None
        return described.topic_id


def _columns(name: str) -> tuple[Column, ...]:
    event_type = CATALOG.named(name)
    assert event_type is not None
    return (*METADATA, *columns_of(event_type.model))


def _each(run: RecordRun) -> list[object]:
    """(offset, key, value, headers) of every record; each log has its own clock."""
    return [
        (offset, run.key(index), run.values[index], run.headers_of(index)) for index, offset in enumerate(run.offsets)
    ]
