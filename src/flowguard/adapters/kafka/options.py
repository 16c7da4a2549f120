"""How the cluster is reached: a URL and librdkafka's own options, checked, and told to each kind of client."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlsplit

from confluent_kafka import Consumer, KafkaException, Producer

from flowguard.adapters.kafka.health import ClientHealth
from flowguard.adapters.kafka.option_names import CONSUMER_ONLY, PREFERRED, PRODUCER_ONLY, RESERVED
from flowguard.domain.errors import ConfigurationError

OptionValue = str | int | float | bool

_DEFAULT_PORT: Final = 9092
_SECRET: Final = re.compile(r"password|secret|passphrase|jaas|\.pem$|oauthbearer\.config|credential|token$")

_CLIENT_DEFAULTS: Final[dict[str, OptionValue]] = {
    "client.id": "flowguard",
    "socket.keepalive.enable": True,
    "socket.connection.setup.timeout.ms": 10_000,
    # A cluster that is back is found again within a second, not within ten.
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 1_000,
    # A broker closes idle connections every few minutes: that is no news.
    "log.connection.close": False,
}
_CLIENT_OWNED: Final[dict[str, OptionValue]] = {"allow.auto.create.topics": False}
_PRODUCER_DEFAULTS: Final[dict[str, OptionValue]] = {
    "linger.ms": 2,
    "compression.type": "lz4",
    "delivery.timeout.ms": 30_000,
    # As the Java client, so that equal keys of all producers share a partition.
    "partitioner": "murmur2_random",
    # How long a topic that the brokers do not know may still be one that they have not heard of yet.
    "topic.metadata.propagation.max.ms": 1_000,
}
_PRODUCER_OWNED: Final[dict[str, OptionValue]] = {"acks": "all", "enable.idempotence": True}
_CONSUMER_OWNED: Final[dict[str, OptionValue]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
}


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """The brokers (`host:port,host:port`), and what the user set of librdkafka's options. Make one with `of`.

    Its repr names the options and none of their values: many are secrets.
    """

    bootstrap: str
    given: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, url: str, options: Mapping[str, object] | None = None) -> Self:
        """From `kafka://host1:9092,host2` (port 9092 where none is named; IPv6 in brackets) and options.

        `sasl_username` and `sasl.username` are the same option, and tables may be nested. Nothing is connected to.
        Raises ConfigurationError, with librdkafka's own words where they are its own.
        """
        made = cls(_bootstrap(url), _given(options or {}))
        made._check()
        return made

    def producer(
        self, health: ClientHealth, *, defaults: Mapping[str, OptionValue] | None = None,
        owned: Mapping[str, OptionValue] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What a Producer is made with. `defaults` give way to what the user set, `owned` do not."""
        return self._merged(health, CONSUMER_ONLY, (_PRODUCER_DEFAULTS, defaults or {}), (_PRODUCER_OWNED, owned or {}))

    def consumer(
        self, group: str, health: ClientHealth, *, defaults: Mapping[str, OptionValue] | None = None,
        owned: Mapping[str, OptionValue] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What a Consumer is made with: it commits nothing and stores no offset by itself, and reads what is committed.

        `defaults` give way to what the user set, `owned` do not. Options are named by their preferred name.
        """
        return self._merged(
            health, PRODUCER_ONLY, (defaults or {},), (_CONSUMER_OWNED, {"group.id": group}, owned or {})
        )

    def admin(self, health: ClientHealth) -> dict[str, Any]:
        """What an AdminClient is made with."""
        return self._merged(health, CONSUMER_ONLY | PRODUCER_ONLY, (), ())

    def __repr__(self) -> str:
        return f"KafkaOptions({', '.join([self.bootstrap, *self.given])})"

    def _merged(
        self,
        health: ClientHealth,
        not_for_it: frozenset[str],
        defaults: tuple[Mapping[str, OptionValue], ...],
        owned: tuple[Mapping[str, OptionValue], ...],
    ) -> dict[str, Any]:
        merged: dict[str, Any] = {"bootstrap.servers": self.bootstrap}
        for layer in (_CLIENT_DEFAULTS, *defaults):
            merged |= layer
        merged |= {name: value for name, value in self.given.items() if name not in not_for_it}
        for layer in (_CLIENT_OWNED, *owned):
            merged |= layer
        return merged | health.callbacks()

    def _check(self) -> None:
        """Have librdkafka read the options, in clients that know of no broker."""
        if not self.given:
            return
        for name, value in self.given.items():
            allowed, why = RESERVED.get(name, (None, ""))
            if allowed is not None and value.lower() not in allowed:
                raise ConfigurationError(f"{_named(name)} is not yours to set: {why}")
        complaint = _complaint(self.given)
        if complaint is None:
            return
        culprits = [name for name, value in self.given.items() if _complaint({name: value}) == complaint]
        if secrets := [value for name, value in self.given.items() if value and _SECRET.search(name)]:
            complaint = re.sub("|".join(map(re.escape, sorted(secrets, key=len, reverse=True))), "***", complaint)
        raise ConfigurationError(f"Kafka options ({', '.join(map(_named, culprits or self.given))}): {complaint}")


def _bootstrap(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "kafka" or parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigurationError("a Kafka log is named by its brokers only: kafka://host1:9092,host2:9092")
    if "@" in parts.netloc:
        raise ConfigurationError(
            "the URL of a Kafka log holds no user and no password: set FLOWGUARD_KAFKA__SASL_USERNAME and"
            " FLOWGUARD_KAFKA__SASL_PASSWORD (and FLOWGUARD_KAFKA__SECURITY_PROTOCOL, FLOWGUARD_KAFKA__SASL_MECHANISM)"
        )
    return ",".join(map(_address, parts.netloc.split(",")))


def _address(text: str) -> str:
    found = re.fullmatch(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\])(?::(?P<port>[0-9]{1,5}))?", text)
    port = int(found["port"] or _DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 65_536:  # noqa: PLR2004  # ports have 16 bits
        raise ConfigurationError(f"{text!r} is no broker: name them as kafka://host1:9092,host2:9092")
    return f"{found['host']}:{port}"


def _given(options: Mapping[str, object]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in _flat(options, ""):
        preferred = PREFERRED.get(name, name)
        if given.setdefault(preferred, value) != value:
            raise ConfigurationError(f"{_named(preferred)} is set twice, to different values")
    return given


def _flat(options: Mapping[str, object], prefix: str) -> Iterator[tuple[str, str]]:
    """Names with dots and values as text, of tables within tables too."""
    for key, value in options.items():
        name = f"{prefix}{key.lower().replace('_', '.')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, bool):
            yield name, str(value).lower()
        elif isinstance(value, str | int | float):
            yield name, str(value)
        else:
            raise ConfigurationError(f"{_named(name)} is a text, a number or true/false, not {type(value).__name__}")


def _named(option: str) -> str:
    """The option as it is set: in the environment, or in flowguard.toml."""
    return f"FLOWGUARD_KAFKA__{option.upper().replace('.', '_')} ({option})"


class _Mute:
    """Takes the place of a logger: what a client of the check says, the real ones say again."""

    def log(self, *_: object) -> None:
        pass


def _complaint(given: Mapping[str, str]) -> str | None:
    """What librdkafka says against these options."""
    offline: dict[str, Any] = {"logger": _Mute()}
    if given.get("sasl.mechanism", "").upper() == "OAUTHBEARER":
        offline["security.protocol"] = "plaintext"  # else it would ask the token endpoint now
    for_producer = {name: value for name, value in given.items() if name not in CONSUMER_ONLY}
    for_consumer = {name: value for name, value in given.items() if name not in PRODUCER_ONLY}
    try:
        Producer({**_PRODUCER_DEFAULTS, **for_producer, **_PRODUCER_OWNED, **offline})
        Consumer({**for_consumer, **_CONSUMER_OWNED, "group.id": "-", **offline}).close()
    except KafkaException as error:
        return str(error.args[0].str()).strip()
    except (TypeError, ValueError) as error:
        return str(error)
    return None
