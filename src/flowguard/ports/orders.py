"""OrderRepository: where orders live, each stored together with the event that tells of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from flowguard.domain.orders import IdempotencyKey, PlacedOrder, Placement
from flowguard.domain.outbox import OutboxMessage


class OrderRepository(Protocol):
    """Keeps orders and their outbox. Sync, and blocking; callable from several threads at once.

    Every method raises TransientError, ConfigurationError.
    """

    @abstractmethod
    def place(self, order: PlacedOrder, message: OutboxMessage, key: IdempotencyKey | None) -> Placement:
        """Store the order and its message in one transaction: both or neither, and they survive a power cut.

        A key that was seen stores nothing: its first order is returned, as repeated. While the first request with it is
        under way, this one waits for its end. A key is remembered for as long as the repository was told, at least,
        and only where its order was stored.

        Raises KeyReusedError (the key came with another fingerprint), OrderExistsError, UnknownOutcomeError (it may be
        stored: with a key, placing it again is right), PermanentError (the database refuses these data).
        """

    @abstractmethod
    def get(self, order_id: str) -> PlacedOrder | None:
        """The order of that id."""

    @abstractmethod
    def check(self) -> None:
        """Raise TransientError or ConfigurationError, with how to mend it, if placing an order would fail now."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything, within seconds. Idempotent."""
