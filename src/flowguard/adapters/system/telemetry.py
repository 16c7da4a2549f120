"""Happenings as log lines, as a list, and to several takers at once."""

from __future__ import annotations

import logging
from typing import TypeVar, assert_never

from flowguard.domain.ingestion import Position, TopicPartition
from flowguard.domain.telemetry import (
    AttemptFailed,
    ColumnsAdded,
    EventsPublished,
    FlowChanged,
    Happening,
    HistoryGone,
    LineStopped,
    MessagesRelayed,
    OffsetsGone,
    OrderPlaced,
    OutboxLeadChanged,
    PartitionsAssigned,
    PartitionsGone,
    PositionsCommitted,
    RecordsDeadLettered,
    RecordsFiltered,
    Recovered,
    RowsDiscarded,
    RowsMerged,
    ValuesDiscarded,
)
from flowguard.ports.telemetry import Telemetry

_H = TypeVar("_H", bound=Happening)


class RecordingTelemetry(Telemetry):
    """Keeps all that happened, in order: for tests, and for services that look at it themselves. It only grows."""

    def __init__(self) -> None:
        self.happenings: list[Happening] = []

    def emit(self, happening: Happening) -> None:
        self.happenings.append(happening)

    def of(self, kind: type[_H]) -> list[_H]:
        """Those of one kind, in order."""
        return [one for one in self.happenings if isinstance(one, kind)]


class TeeTelemetry(Telemetry):
    """Tells several, in the order given."""

    def __init__(self, *takers: Telemetry) -> None:
        self._takers = takers

    def emit(self, happening: Happening) -> None:
        for taker in self._takers:
            taker.emit(happening)


class LoggingTelemetry(Telemetry):
    """One line a happening. What went wrong is a warning or an error; what happens all the time is for debugging."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("flowguard")

    def emit(self, happening: Happening) -> None:
        level = _level(happening)
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", line(happening).replace("\n", "\\n"))


def _level(happening: Happening) -> int:
    match happening:
        case LineStopped() | OffsetsGone():
            return logging.ERROR
        case RecordsDeadLettered() | ValuesDiscarded() | RowsDiscarded() | AttemptFailed() | HistoryGone():
            return logging.WARNING
        case EventsPublished() | PositionsCommitted() | FlowChanged() | OrderPlaced() | MessagesRelayed():
            return logging.DEBUG
        case _:
            return logging.INFO


def line(happening: Happening) -> str:  # noqa: C901, PLR0911, PLR0912  # one case a happening, and nothing else
    """The happening in one line, for people."""
    match happening:
        case RowsMerged(stream, inserted, duplicates):
            return f"Merged {inserted} {stream} (skipped {duplicates} duplicates)"
        case RecordsDeadLettered(stream, reason, count, example):
            return f"Dead-lettered {count} {stream} ({reason}), first: {example}"
        case RecordsFiltered(stream, count):
            return f"Filtered {count} {stream}"
        case ColumnsAdded(stream, columns):
            return f"Added to the table of {stream}: {', '.join(columns)}"
        case ValuesDiscarded(stream, columns, count):
            return f"Values of {count} {stream} are in their payload only: their table has no {', '.join(columns)}"
        case RowsDiscarded(stream, columns, count):
            return f"Discarded {count} {stream}: their table has no {', '.join(columns)}"
        case AttemptFailed(what, error, attempt):
            return f"Failed: {what}, attempt {attempt}, will try again: {error}"
        case Recovered(what, attempts):
            return f"Works again: {what}, after {attempts} failed attempts"
        case PartitionsAssigned(starts):
            return f"Assigned {', '.join(f'{place} from {_start(at)}' for place, at in starts) or 'nothing'}"
        case OffsetsGone(partition, first, last):
            return f"LOST: the log deleted {partition} {first} to {last} before they were read; going on at {last + 1}"
        case HistoryGone(partition, earliest):
            return f"The log keeps nothing of {partition} below {earliest}: what was there before cannot land"
        case PartitionsGone(partitions, how):
            return f"Partitions {how}: {_places(partitions)}"
        case PositionsCommitted(positions):
            return f"Committed {_positions(positions)}"
        case FlowChanged(paused, held_bytes):
            return f"Reading {'paused' if paused else 'resumed'} with {held_bytes} bytes held"
        case LineStopped(reason):
            return f"Stopped: {reason}"
        case EventsPublished(stream, accepted, duplicate, rejected):
            return f"Published {accepted} {stream} ({duplicate} duplicate, {rejected} rejected)"
        case OrderPlaced(repeated):
            return "Answered an order once more" if repeated else "Placed an order"
        case MessagesRelayed(topic, count):
            return f"Relayed {count} of the outbox to {topic}"
        case OutboxLeadChanged(leads):
            return "This relay moves the outbox" if leads else "Another relay moves the outbox: standing by"
    assert_never(happening)


def _start(offset: int | None) -> str:
    return "the log's own choice" if offset is None else str(offset)


def _places(partitions: tuple[TopicPartition, ...]) -> str:
    return ", ".join(map(str, partitions))


def _positions(positions: tuple[Position, ...]) -> str:
    return ", ".join(f"{place} to {at}" for place, at in positions)
