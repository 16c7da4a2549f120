"""Outbox: what a relay takes out of it. Putting something in is part of somebody's own transaction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowguard.domain.outbox import OutboxMessage


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that is not marked as sent. Ids rise, with gaps; one may become visible after a higher one."""

    id: int
    message: OutboxMessage


class Outbox(Protocol):
    """One relay's side of an outbox. Sync; used from one thread at a time.

    Of all relays on the same outbox one at most has the lead; it lets go of it by `close`, or by losing the connection.
    Every method raises TransientError, ConfigurationError.
    """

    @abstractmethod
    def take(self, limit: int) -> Sequence[Waiting] | None:
        """The messages of the lowest ids that are not sent, up to `limit` (and to a number of bytes), in that order.

        None where another relay has the lead; where nobody has it, this one gets it. Nothing is locked, and nothing
        changes: what is not marked comes again, first, at the next call. A message whose transaction began after that
        of another one was committed has the higher id; so the order of ids is the order of events that could know of
        one another, and no id is ever passed over because it became visible late.
        """

    @abstractmethod
    def mark_sent(self, ids: Sequence[int], now: datetime) -> None:
        """They are in the log. Durable when it returns. Idempotent; needs no lead, as it is true whoever says so."""

    @abstractmethod
    def wait(self, timeout_s: float) -> None:
        """Until there may be something new to take, `timeout_s` seconds at most. May return early, for no reason."""

    @abstractmethod
    def clean_up(self, sent_before: datetime, limit: int) -> int:
        """Forget up to `limit` messages that were marked as sent before that time; returns how many.

        Never one that is not marked. Several may clean up at once.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the lead and of everything else, within seconds. Idempotent."""
