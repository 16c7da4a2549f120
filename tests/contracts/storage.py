"""What a contract suite asks of the test's own storage, beside the ports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from flowguard.domain.ingestion import TopicPartition
from flowguard.ports.dead_letters import DeadLetterQueue
from flowguard.ports.event_log import EventLog
from flowguard.ports.ledger import Ledger
from flowguard.ports.orders import OrderRepository
from flowguard.ports.outbox import Outbox
from flowguard.ports.publisher import EventPublisher
from flowguard.ports.sink import EventSink
from flowguard.ports.source import EventSource


class SinkStorage(Protocol):
    """A sink with tables for `tests.builders.CATALOG`. Every call gives another adapter on the same tables."""

    def sink(self) -> EventSink: ...

    def ledger(self) -> Ledger: ...


class DeadLetterStorage(Protocol):
    """Every call gives another adapter on the same dead letters."""

    def dead_letters(self) -> DeadLetterQueue: ...


class OrderStorage(Protocol):
    """Every call gives another adapter on the same orders and their outbox."""

    def orders(self, keep_keys_s: float = 86_400.0) -> OrderRepository: ...

    def outbox(self) -> Outbox: ...


class LogStorage(Protocol):
    """A log, empty at first. Every call gives another adapter on the same topics and groups."""

    def publisher(self) -> EventPublisher: ...

    def source(self, topics: Sequence[str], group: str = "flowguard", fetch_bytes: int = 1_000_000) -> EventSource:
        """A member of the group that has not polled yet; one poll returns at most `fetch_bytes`, or one record."""
        ...

    def event_log(self) -> EventLog: ...

    # What befalls a log, done behind the backs of its adapters.

    def delete_topic(self, topic: str) -> None:
        """Delete it, with all that groups committed of it."""
        ...

    def skip_offsets(self, partition: TopicPartition, number: int) -> None:
        """Use up offsets that hold no record, as transactions do."""
        ...

    def truncate(self, partition: TopicPartition, before_offset: int) -> None:
        """Forget the records below the offset, as retention does."""
        ...

    def expire(self, source: EventSource) -> None:
        """Have the group give the member up as dead, without its knowing."""
        ...
