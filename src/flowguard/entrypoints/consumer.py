"""What runs beside the gateway in a thread of its own: the consumer, and the relay of the outbox."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol


class Runnable(Protocol):
    """An Ingestion, or an OutboxRelay."""

    @abstractmethod
    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set, then drain."""


class Consumer:
    """One Ingestion (or what runs like it) and its stop flag. Signal handlers only ask it to `stop`: they never raise.

    `failure` says why it ended by itself: a storm of dead letters, a setting to be mended, or a bug. None: it did not.
    """

    def __init__(self, make: Callable[[], Runnable], name: str = "consumer") -> None:
        self._make = make
        self._name = name
        self._log = logging.getLogger(f"flowguard.{name}")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"flowguard-{name}", daemon=True)
        self.failure: str | None = None

    def run(self) -> None:
        """Consume on this thread until `stop` is called, then drain. Raises LineStoppedError, ConfigurationError."""
        self._make().run(self._stop)

    def start(self) -> None:
        """Consume on a thread of its own; what it dies of is kept in `failure` and logged."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to drain and end. Returns at once; may be called from a signal handler, and more than once."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; False when it has not within `timeout_s` seconds."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.run()
        except Exception as error:  # noqa: BLE001  # a thread has nobody above it to tell
            self.failure = str(error) or type(error).__name__
            self._log.exception("the %s stopped: %s", self._name, self.failure)
