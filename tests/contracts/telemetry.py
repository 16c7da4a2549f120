"""What every Telemetry must do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, get_args

import pytest

from flowguard.domain.dead_letters import Reason
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

_PLACE = TopicPartition("raw.clicks.v1", 0)
HAPPENINGS: tuple[Happening, ...] = (
    RowsMerged("clicks", 5, 1, 0.25),
    RecordsDeadLettered("clicks", Reason.INVALID, 2, "raw.clicks.v1-0 offset 7: 100% wrong"),
    RecordsFiltered("clicks", 3),
    ColumnsAdded("clicks", ("nights", "hotel")),
    ValuesDiscarded("clicks", ("nights",), 4),
    RowsDiscarded("clicks", ("nights",), 4),
    AttemptFailed("write", "the sink is down", 1),
    Recovered("write", 4),
    PartitionsAssigned(((_PLACE, None), (TopicPartition("raw.clicks.v1", 1), 7))),
    PartitionsAssigned(()),
    OffsetsGone(_PLACE, 3, 9),
    HistoryGone(_PLACE, 500),
    PartitionsGone((_PLACE,), "lost"),
    PositionsCommitted((Position(_PLACE, 8),)),
    FlowChanged(paused=True, held_bytes=1_000),
    LineStopped("a storm of dead letters\nof two lines"),
    EventsPublished("clicks", 5, 1, 2, 0.01),
    OrderPlaced(repeated=False, seconds=0.01),
    OrderPlaced(repeated=True, seconds=0.01),
    MessagesRelayed("raw.orders.v1", 3, 0.01),
    OutboxLeadChanged(leads=True),
    OutboxLeadChanged(leads=False),
)


class TelemetryContract:
    """Set `adapter`, and give the fixture `telemetry`."""

    adapter: ClassVar[type[Telemetry]]

    @pytest.fixture
    def telemetry(self) -> Telemetry:
        raise NotImplementedError("the subclass makes a telemetry")

    def test_all_kinds_are_shown_here(self, telemetry: Telemetry) -> None:
        assert isinstance(telemetry, self.adapter)
        assert {type(one) for one in HAPPENINGS} == set(get_args(Happening))

    @pytest.mark.parametrize("happening", HAPPENINGS, ids=lambda one: type(one).__name__)
    def test_it_takes_whatever_happens(self, telemetry: Telemetry, happening: Happening) -> None:
        telemetry.emit(happening)
        telemetry.emit(happening)

    def test_it_takes_from_any_thread(self, telemetry: Telemetry) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(telemetry.emit, HAPPENINGS * 50))
