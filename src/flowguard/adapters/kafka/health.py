"""What a client tells of itself beside its answers: its errors, and its log. Its callbacks never raise."""

from __future__ import annotations

import logging
import re
from time import monotonic
from typing import Final

from confluent_kafka import KafkaError, KafkaException

LOGGER: Final = logging.getLogger("flowguard.kafka")
LOGGER.addHandler(logging.NullHandler())  # who has set up no log sees no stray lines

REFUSED: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001  # public, in spite of the name: the client's own codes have one
        KafkaError._SSL,  # noqa: SLF001
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.SECURITY_DISABLED,
    }
)
"""The brokers are there and do not let us in."""

_REPEATED_AFTER_S: Final = 60.0
_MOST_LINES: Final = 500
_NUMBERS: Final = re.compile(r"[0-9]+")


class ClientHealth:
    """Takes the errors and the log of one client. `callbacks` goes into its configuration; any thread may call them.

    `down`: no broker is connected, as far as the client knows. `reason`: the last error that was told, in its words,
    until `clear`. `refused`: that error was a refusal (credentials, certificates). `fatal`: the client is of no use any
    more.
    """

    def __init__(self) -> None:
        self.down = False
        self.refused = False
        self.fatal = False
        self.reason = ""
        self._told: dict[str, float] = {}

    def callbacks(self) -> dict[str, object]:
        return {"error_cb": self.on_error, "logger": self}

    def clear(self) -> None:
        """The cluster has answered."""
        self.down = self.refused = False
        self.reason = ""

    def died_of(self, error: KafkaException) -> None:
        """The client raised a fatal error."""
        self.fatal = True
        self.reason = str(error)

    def on_error(self, error: KafkaError) -> None:
        """Of any broker or of the client as a whole; librdkafka goes on trying in every case but `fatal`."""
        try:
            if error.fatal():
                self.fatal = True
            if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
                self.down = True  # its text says nothing: the reasons came before it
                return
            self.refused = error.code() in REFUSED
            self.reason = error.str()
        except Exception:  # an exception out of a callback destroys what the client had in hand
            LOGGER.exception("an error of the Kafka client could not be noted")

    def log(self, level: int, line: str, *parts: object) -> None:
        """A line of librdkafka's log, as logging.Logger.log takes it; the same line again only after a minute."""
        try:
            kind = _NUMBERS.sub("0", f"{line}{parts[:1]}{parts[-1:]}")
            now = monotonic()
            if level < logging.CRITICAL and now < self._told.get(kind, -_REPEATED_AFTER_S) + _REPEATED_AFTER_S:
                return
            if len(self._told) >= _MOST_LINES:
                self._told.clear()
            self._told[kind] = now
            LOGGER.log(level, line, *parts)
        except Exception:
            LOGGER.exception("a line of the Kafka client's log could not be written")
