"""Landing rows by Snowpipe Streaming: one channel a partition, whose offset token is the position."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count

from flowguard.adapters.snowpipe.client import Client, Connect
from flowguard.adapters.snowpipe.commits import Deadline, Place, committed, flush, require_nothing_left_out
from flowguard.adapters.snowpipe.documents import Prepared, prepared
from flowguard.adapters.snowpipe.errors import mapped
from flowguard.adapters.snowpipe.lanes import Lane
from flowguard.adapters.snowpipe.makings import MAKINGS, Makings
from flowguard.domain.catalog import EventType
from flowguard.domain.errors import ConfigurationError, FencedError, TransientError, UnknownOutcomeError
from flowguard.domain.ingestion import Assignment, Claim, TopicPartition
from flowguard.domain.rows import Merged, Move, Rows, SinkBatch, WriteReport
from flowguard.ports.sink import EventSink


@dataclass(frozen=True, slots=True)
class _Load:
    """What one partition's channel is given in one write. `key`: partition and incarnation."""

    key: tuple[TopicPartition, int]
    lane: Lane
    next_offset: int
    rows: Sequence[Prepared]


class SnowpipeStreamingEventSink(EventSink):
    """Appends, and never merges. `event_types`: all whose topics are read; each has its table, and a client of its own.

    Its promise is smaller than the port's (docs/guide/snowpipe.md says what follows from it): each record of the log
    has one row, and what is one event twice in the log has two. All or nothing goes for one partition of a batch, not
    for the batch. It remembers no filtered offsets, and no position beyond the last row. It takes no replay.
    """

    def __init__(self, connect: Connect, event_types: Iterable[EventType], place: Place) -> None:
        self._connect = connect
        self._of_topic = {one.topic: one for one in event_types}
        self._place = place
        self._makings = Makings(place)
        self._clients: dict[str, Client] = {}
        self._lanes: dict[tuple[TopicPartition, int], Lane] = {}
        self._epochs = count(1)
        self._closed = False

    def claim(self, owner: str, assignments: Sequence[Assignment]) -> Sequence[Claim]:
        self._require_open()
        return [self._claim(owner, partition, topic_id) for partition, topic_id in assignments]

    def write(self, batch: SinkBatch) -> WriteReport:
        self._require_open()
        lanes = self._owned(batch.moves)
        self._refuse_replay(batch)
        with self._forgetting_lost():
            for move, lane in zip(batch.moves, lanes, strict=True):
                if not lane.sure:
                    lane.settle(move.next_offset, self._place)
                if move.expected is not None and (lane.position or 0) < move.expected:
                    raise FencedError([lane.partition])
            now = datetime.now(UTC)
            # Whatever can be found wrong with a row is found before anything is appended.
            loads = [
                _Load(
                    _key(move.claim), lane, move.next_offset, prepared(_rows_of(move, batch, lane.position or 0), now)
                )
                for move, lane in zip(batch.moves, lanes, strict=True)
            ]
            self._land([load for load in loads if load.rows])
        for load in loads:
            load.lane.position = max(load.lane.position or 0, load.next_offset)
        return _report(batch, loads)

    def check(self) -> None:
        self._require_open()
        for table in (*(one.table.upper() for one in self._of_topic.values()), MAKINGS):
            names = [lane.name for lane in self._lanes.values() if lane.table == table]
            with mapped(self._place.where):
                statuses = self._client(table).get_channel_statuses(names or ["flowguard.check"])
            for name, status in statuses.items():
                require_nothing_left_out(status, name, table, self._place)

    def close(self) -> None:
        self._closed = True
        self._lanes.clear()
        while self._clients:
            _, client = self._clients.popitem()
            with suppress(Exception):  # whatever it is, there is nothing left to do for it
                client.close(wait_for_flush=False, timeout_seconds=0)

    def _claim(self, owner: str, partition: TopicPartition, topic_id: str) -> Claim:
        event_type = self._of_topic.get(partition.topic)
        if event_type is None:
            raise ConfigurationError(f"no event type of the catalog has the topic {partition.topic}: add one")
        table = event_type.table.upper()
        incarnation = self._makings.number(self._client(MAKINGS), partition.topic, topic_id, owner)
        name = f"flowguard.{partition.topic}.{topic_id}.{partition.partition}"
        lane = Lane.taken(self._client(table), table, name, partition, next(self._epochs), self._place)
        claim = Claim(partition, incarnation, lane.epoch, lane.position)
        self._lanes[_key(claim)] = lane
        return claim

    def _owned(self, moves: Sequence[Move]) -> list[Lane]:
        """The lanes of the moves. Raises FencedError with those that this sink has not, or has taken again since."""
        found = [(move.claim, self._lanes.get(_key(move.claim))) for move in moves]
        if fenced := [claim.partition for claim, lane in found if lane is None or lane.epoch != claim.epoch]:
            raise FencedError(fenced)
        return [lane for _, lane in found if lane is not None]

    def _refuse_replay(self, batch: SinkBatch) -> None:
        moving = {_key(move.claim) for move in batch.moves}
        if still := [rows.partition for rows in batch.rows if _key(rows) not in moving]:
            raise ConfigurationError(
                f"{self._place.where}: rows of {still[0]} come without a move of its position (a replay), and a stream"
                " cannot tell which of them it has: only a sink of snowflake:// takes them"
            )

    def _land(self, loads: Sequence[_Load]) -> None:
        """Append, and wait until Snowflake has committed. Raises as `write` does."""
        deadline = Deadline(self._place.timeout_s)
        try:
            for load in loads:
                load.lane.append(load.rows, load.next_offset, self._place)
            for load in loads:
                flush(load.lane.channel, self._place, deadline, load.lane.partition)
            for client, some in _by_client(loads):
                wanted = {load.lane.name: partial(load.lane.reaches, load.next_offset, self._place) for load in some}
                statuses = committed(client, wanted, self._place, deadline)
                for load in some:
                    load.lane.confirm(statuses[load.lane.name], load.next_offset, self._place)
        except TransientError as error:
            raise UnknownOutcomeError(str(error)) from error

    def _client(self, table: str) -> Client:
        if table not in self._clients:
            self._clients[table] = self._connect(table)
        return self._clients[table]

    @contextmanager
    def _forgetting_lost(self) -> Iterator[None]:
        """A lane that somebody else has taken is ours no more until it is claimed again."""
        try:
            yield
        except FencedError as error:
            for key in [one for one in self._lanes if one[0] in error.partitions]:
                del self._lanes[key]
            raise

    def _require_open(self) -> None:
        if self._closed:
            raise TransientError("this sink is closed: make another one")


def _key(of: Claim | Rows) -> tuple[TopicPartition, int]:
    return of.partition, of.incarnation


def _rows_of(move: Move, batch: SinkBatch, position: int) -> list[Rows]:
    """The partition's rows at or past the position: those below it are there, or were resolved without a row."""
    return [
        Rows(
            rows.event_type,
            rows.partition,
            rows.incarnation,
            [offset for offset in rows.offsets if offset >= position],
            [row for offset, row in zip(rows.offsets, rows.values, strict=True) if offset >= position],
        )
        for rows in batch.rows
        if _key(rows) == _key(move.claim)
    ]


def _by_client(loads: Sequence[_Load]) -> list[tuple[Client, list[_Load]]]:
    grouped: dict[str, list[_Load]] = {}
    for load in loads:
        grouped.setdefault(load.lane.table, []).append(load)
    return [(some[0].lane.client, some) for some in grouped.values()]


def _report(batch: SinkBatch, loads: Sequence[_Load]) -> WriteReport:
    landed = {load.key: {row.offset for row in load.rows} for load in loads}
    merged: dict[str, Merged] = {}
    for rows in batch.rows:
        inserted = len(landed[_key(rows)].intersection(rows.offsets))
        before = merged.get(rows.event_type.name, Merged(0, 0))
        merged[rows.event_type.name] = Merged(
            before.inserted + inserted, before.duplicates + len(rows.offsets) - inserted
        )
    return WriteReport(merged)
