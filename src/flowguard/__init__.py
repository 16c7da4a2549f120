"""FlowGuard: every event that it said yes to is in the warehouse exactly once, or a dead letter with its reason.

The public names. Each is imported when it is first asked for, so that `import flowguard` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flowguard.application.audit import Auditor
    from flowguard.application.composing import InvalidEventError
    from flowguard.application.ingest import Ingestion
    from flowguard.application.ingest_ports import IngestPorts
    from flowguard.application.observe import Observer
    from flowguard.application.publish import EventResult, Publish, PublishReport, Verdict
    from flowguard.container import Container
    from flowguard.domain.batching import BatchPolicy, FlowPolicy
    from flowguard.domain.catalog import BUILT_IN, Catalog, EventType, SchemaContract
    from flowguard.domain.dead_letters import DeadLetterPolicy, Reason
    from flowguard.domain.errors import ConfigurationError, FlowGuardError, PermanentError, RetryPolicy, TransientError
    from flowguard.domain.events import Click, Order
    from flowguard.entrypoints.consumer import Consumer
    from flowguard.entrypoints.embedded import Embedded
    from flowguard.entrypoints.outbox import TransactionalOutbox
    from flowguard.settings import Settings

_HOMES = {
    "application.audit": ("Auditor",),
    "application.composing": ("InvalidEventError",),
    "application.ingest": ("Ingestion",),
    "application.ingest_ports": ("IngestPorts",),
    "application.observe": ("Observer",),
    "application.publish": ("EventResult", "Publish", "PublishReport", "Verdict"),
    "container": ("Container",),
    "domain.batching": ("BatchPolicy", "FlowPolicy"),
    "domain.catalog": ("BUILT_IN", "Catalog", "EventType", "SchemaContract"),
    "domain.dead_letters": ("DeadLetterPolicy", "Reason"),
    "domain.errors": ("ConfigurationError", "FlowGuardError", "PermanentError", "RetryPolicy", "TransientError"),
    "domain.events": ("Click", "Order"),
    "entrypoints.consumer": ("Consumer",),
    "entrypoints.embedded": ("Embedded",),
    "entrypoints.outbox": ("TransactionalOutbox",),
    "settings": ("Settings",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022  # grouped by what they are for
    "__version__",
    # an event type of your own
    "BUILT_IN", "Catalog", "Click", "EventType", "Order", "SchemaContract",
    # a pipeline in your service
    "Embedded", "EventResult", "PublishReport", "Settings", "Verdict",
    # an event in your own transaction
    "TransactionalOutbox",
    # or its parts
    "Auditor", "Consumer", "Container", "IngestPorts", "Ingestion", "Observer", "Publish",
    # how it behaves
    "BatchPolicy", "DeadLetterPolicy", "FlowPolicy", "RetryPolicy",
    # what went wrong
    "ConfigurationError", "FlowGuardError", "InvalidEventError", "PermanentError", "Reason", "TransientError",
]  # fmt: skip


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'flowguard' has no attribute {name!r}")
    return getattr(import_module(f"flowguard.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
