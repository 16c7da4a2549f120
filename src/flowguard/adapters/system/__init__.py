"""What the system itself gives: its clocks, and its logging."""

from flowguard.adapters.system.clock import SystemClock
from flowguard.adapters.system.telemetry import LoggingTelemetry, RecordingTelemetry, TeeTelemetry

__all__ = ["LoggingTelemetry", "RecordingTelemetry", "SystemClock", "TeeTelemetry"]
