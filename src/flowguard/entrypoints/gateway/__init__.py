"""The HTTP gateway: events in, verdicts out, and a page to watch."""

from flowguard.entrypoints.gateway.app import create_app
from flowguard.entrypoints.gateway.live import PipelineObserver
from flowguard.entrypoints.gateway.server import GatewayServer

__all__ = ["GatewayServer", "PipelineObserver", "create_app"]
