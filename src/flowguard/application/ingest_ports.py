"""What an Ingestion works with."""

from __future__ import annotations

from dataclasses import dataclass

from flowguard.application.worker import Worker
from flowguard.ports.clock import Clock
from flowguard.ports.dead_letters import DeadLetterQueue
from flowguard.ports.sink import EventSink
from flowguard.ports.source import EventSource
from flowguard.ports.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the polling thread waits, in seconds."""

    idle_s: float = 0.1
    """For records, when nothing is under way."""
    busy_s: float = 0.02
    """For records, while the worker is busy: its outcome is looked at this often."""
    commit_s: float = 0.0
    """Between two commits to the log. They are hints; those before partitions go, and before the end, do not wait."""
    drain_s: float = 20.0
    """For the worker, when partitions are revoked or the consumer shuts down."""


@dataclass(frozen=True, slots=True)
class IngestPorts:
    """What an Ingestion needs of the world. It closes the source; the rest belongs to its maker."""

    source: EventSource
    sink: EventSink
    dead_letters: DeadLetterQueue
    clock: Clock
    telemetry: Telemetry
    worker: Worker
