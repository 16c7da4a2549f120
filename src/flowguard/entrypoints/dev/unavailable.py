"""Kafka cannot be had here: why, and what else there is."""

from __future__ import annotations

from flowguard.domain.errors import ConfigurationError

_ALTERNATIVES = (
    "or use a cluster of your own (FLOWGUARD_LOG_URL=kafka://HOST:PORT),"
    " or containers (docker compose -f deploy/compose.yaml up)"
)


class KafkaUnavailableError(ConfigurationError):
    """Something that Apache Kafka needs is not here. The text, one line, says what, and names the alternatives."""

    def __init__(self, lacking: str) -> None:
        super().__init__(f"{lacking}; {_ALTERNATIVES}")
