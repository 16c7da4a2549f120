"""The consumer: in the foreground (`flowguard consume`), or as a thread beside the gateway (`flowguard up`)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from flowguard.application.ingest import Ingestion

_log = logging.getLogger("flowguard.consumer")


class Consumer:
    """One Ingestion and its stop flag. Signal handlers only ask it to `stop`: they never raise.

    `failure` says why it ended by itself: a storm of dead letters, a setting to be mended, or a bug. None: it did not.
    """

    def __init__(self, make: Callable[[], Ingestion]) -> None:
        self._make = make
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flowguard-consumer", daemon=True)
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
            _log.exception("the consumer stopped: %s", self.failure)
