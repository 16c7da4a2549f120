"""No adapter without its contract: whoever adds one is told which suite to subclass."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import flowguard.adapters
import tests.adapters
from flowguard.ports.backfill import Backfill
from flowguard.ports.clock import Clock
from flowguard.ports.dead_letters import DeadLetterQueue
from flowguard.ports.event_log import EventLog
from flowguard.ports.ledger import Ledger
from flowguard.ports.orders import OrderRepository
from flowguard.ports.outbox import Outbox
from flowguard.ports.publisher import EventPublisher
from flowguard.ports.sink import EventSink
from flowguard.ports.source import EventSource
from flowguard.ports.telemetry import Telemetry
from tests.contracts.backfill import BackfillContract
from tests.contracts.clock import ClockContract
from tests.contracts.dead_letters import DeadLetterContract
from tests.contracts.event_log import EventLogContract
from tests.contracts.ledger import LedgerContract
from tests.contracts.orders import OrderContract
from tests.contracts.outbox import OutboxContract
from tests.contracts.publisher import PublisherContract
from tests.contracts.sink import SinkContract
from tests.contracts.source import SourceContract
from tests.contracts.telemetry import TelemetryContract

SUITES: dict[type, type] = {
    Backfill: BackfillContract,
    Clock: ClockContract,
    DeadLetterQueue: DeadLetterContract,
    EventLog: EventLogContract,
    EventPublisher: PublisherContract,
    EventSink: SinkContract,
    EventSource: SourceContract,
    Ledger: LedgerContract,
    OrderRepository: OrderContract,
    Outbox: OutboxContract,
    Telemetry: TelemetryContract,
}


def _modules(package: ModuleType) -> list[str]:
    return [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]


def _classes(name: str) -> list[type]:
    """What a module itself defines; nothing where its vendor is not installed."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in {"flowguard", "tests"}:
            raise
        return []
    return [one for _, one in inspect.getmembers(module, inspect.isclass) if one.__module__ == name]


def _adapters(port: type) -> set[type]:
    return {
        one
        for name in _modules(flowguard.adapters)
        for one in _classes(name)
        if port in one.__mro__ and not inspect.isabstract(one)
    }


def _held_to(suite: type) -> set[type]:
    """The adapters that the tests of adapters hold to the suite."""
    return {
        one.adapter
        for name in _modules(tests.adapters)
        for one in _classes(name)
        if issubclass(one, suite) and one.__name__.startswith("Test") and hasattr(one, "adapter")
    }


@pytest.mark.parametrize(("port", "suite"), SUITES.items(), ids=lambda one: one.__name__)
def test_every_adapter_is_held_to_the_contract_of_its_port(port: type, suite: type) -> None:
    adapters = _adapters(port)
    assert adapters, f"nothing implements {port.__name__}"
    missing = sorted(one.__name__ for one in adapters - _held_to(suite))
    assert missing == [], f"for each, add a test class that subclasses {suite.__name__} and sets `adapter`"


def test_every_port_has_a_suite() -> None:
    import flowguard.ports

    ports = {
        one
        for name in _modules(flowguard.ports)
        for one in _classes(name)
        if getattr(one, "_is_protocol", False) and one.__name__ != "RebalanceListener"
    }
    assert ports == set(SUITES)
