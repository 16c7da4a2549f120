"""A server cannot be had here: why, and what else there is."""

from __future__ import annotations

from typing import ClassVar

from flowguard.domain.errors import ConfigurationError

_CONTAINERS = "or containers (docker compose -f deploy/compose.yaml up)"


class _UnavailableError(ConfigurationError):
    """Something that a server needs is not here. The text, one line, says what, and names the alternatives."""

    alternatives: ClassVar[str]

    def __init__(self, lacking: str) -> None:
        super().__init__(f"{lacking}; {self.alternatives}")


class KafkaUnavailableError(_UnavailableError):
    """Apache Kafka cannot run here."""

    alternatives = f"or use a cluster of your own (FLOWGUARD_LOG_URL=kafka://HOST:PORT), {_CONTAINERS}"


class PostgresUnavailableError(_UnavailableError):
    """PostgreSQL cannot run here."""

    alternatives = (
        f"or use a server of your own (FLOWGUARD_SINK_URL=postgresql://USER@HOST:PORT/DATABASE), {_CONTAINERS}"
    )


class SnowflakeUnavailableError(_UnavailableError):
    """The stand-in for Snowflake cannot run here."""

    alternatives = (
        "or use an account of your own (FLOWGUARD_SINK_URL=snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=WH,"
        " in tests FLOWGUARD_TEST_SNOWFLAKE_URL)"
    )
