"""FlowGuard: every event that it said yes to is in the warehouse exactly once, or a dead letter with its reason."""

__version__ = "0.1.0"
