from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from flowguard.adapters.system import LoggingTelemetry, RecordingTelemetry, TeeTelemetry
from flowguard.domain.telemetry import LineStopped, RecordsFiltered, RowsMerged
from flowguard.ports.telemetry import Telemetry
from tests.contracts.telemetry import HAPPENINGS, TelemetryContract


class TestRecordingTelemetry(TelemetryContract):
    adapter = RecordingTelemetry

    @pytest.fixture
    def telemetry(self) -> Telemetry:
        return RecordingTelemetry()

    def test_it_keeps_all_in_order_and_by_kind(self) -> None:
        telemetry = RecordingTelemetry()
        for happening in HAPPENINGS:
            telemetry.emit(happening)
        assert telemetry.happenings == list(HAPPENINGS)
        assert telemetry.of(RowsMerged) == [RowsMerged("clicks", 5, 1, 0.25)]
        assert telemetry.of(RecordsFiltered)[0].count == 3


class TestTeeTelemetry(TelemetryContract):
    adapter = TeeTelemetry

    @pytest.fixture
    def telemetry(self) -> Telemetry:
        return TeeTelemetry(RecordingTelemetry(), RecordingTelemetry())

    def test_every_taker_is_told(self) -> None:
        takers = RecordingTelemetry(), RecordingTelemetry()
        TeeTelemetry(*takers).emit(HAPPENINGS[0])
        assert [taker.happenings for taker in takers] == [[HAPPENINGS[0]]] * 2


@dataclass
class Lines(logging.Handler):
    """The lines that were logged, with their levels."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    __hash__ = object.__hash__

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelname, record.getMessage()))


@pytest.fixture
def lines() -> Iterator[Lines]:
    logger, handler = logging.getLogger("flowguard"), Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


class TestLoggingTelemetry(TelemetryContract):
    adapter = LoggingTelemetry

    @pytest.fixture
    def telemetry(self) -> Telemetry:
        return LoggingTelemetry()

    def test_the_line_of_a_merge_is_the_one_that_people_know(self, lines: Lines) -> None:
        LoggingTelemetry().emit(RowsMerged("clicks", 0, 5, 0.1))
        assert lines.lines == [("INFO", "Merged 0 clicks (skipped 5 duplicates)")]

    def test_what_stops_the_line_is_an_error(self, lines: Lines) -> None:
        LoggingTelemetry().emit(LineStopped("a storm"))
        assert lines.lines == [("ERROR", "Stopped: a storm")]

    def test_each_happening_is_one_line_and_says_what_happened(self, lines: Lines) -> None:
        telemetry = LoggingTelemetry()
        for happening in HAPPENINGS:
            telemetry.emit(happening)
        assert lines.lines == [
            ("INFO", "Merged 5 clicks (skipped 1 duplicates)"),
            ("WARNING", "Dead-lettered 2 clicks (invalid), first: raw.clicks.v1-0 offset 7: 100% wrong"),
            ("INFO", "Filtered 3 clicks"),
            ("INFO", "Added to the table of clicks: nights, hotel"),
            ("WARNING", "Values of 4 clicks are in their payload only: their table has no nights"),
            ("WARNING", "Discarded 4 clicks: their table has no nights"),
            ("WARNING", "Failed: write, attempt 1, will try again: the sink is down"),
            ("INFO", "Works again: write, after 4 failed attempts"),
            ("INFO", "Assigned raw.clicks.v1-0 from the log's own choice, raw.clicks.v1-1 from 7"),
            ("INFO", "Assigned nothing"),
            ("ERROR", "LOST: the log deleted raw.clicks.v1-0 3 to 9 before they were read; going on at 10"),
            ("WARNING", "The log keeps nothing of raw.clicks.v1-0 below 500: what was there before cannot land"),
            ("INFO", "Partitions lost: raw.clicks.v1-0"),
            ("DEBUG", "Committed raw.clicks.v1-0 to 8"),
            ("DEBUG", "Reading paused with 1000 bytes held"),
            ("ERROR", "Stopped: a storm of dead letters\\nof two lines"),
            ("DEBUG", "Published 5 clicks (1 duplicate, 2 rejected)"),
            ("DEBUG", "Placed an order"),
            ("DEBUG", "Answered an order once more"),
            ("DEBUG", "Relayed 3 of the outbox to raw.orders.v1"),
            ("INFO", "This relay moves the outbox"),
            ("INFO", "Another relay moves the outbox: standing by"),
        ]

    def test_another_logger_can_be_given(self, lines: Lines) -> None:
        logger = logging.getLogger("flowguard.another")
        logger.setLevel(logging.ERROR)
        LoggingTelemetry(logger).emit(HAPPENINGS[0])
        assert lines.lines == []
        logger.setLevel(logging.INFO)
        LoggingTelemetry(logger).emit(HAPPENINGS[0])
        assert len(lines.lines) == 1
