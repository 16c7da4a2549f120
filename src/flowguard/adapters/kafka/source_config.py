"""What the consumer of a KafkaEventSource is made with."""

from __future__ import annotations

from typing import Any, Final

from flowguard.adapters.kafka.health import ClientHealth
from flowguard.adapters.kafka.options import KafkaOptions, OptionValue

_LEAST_QUEUE_BYTES: Final = 1024 * 1024
_MOST_QUEUE_BYTES: Final = 16 * 1024 * 1024
_ANSWER_BYTES: Final = 1024 * 1024

_DEFAULTS: Final[dict[str, OptionValue]] = {
    # Partitions that were added, and topics that were made, are seen within this time.
    "topic.metadata.refresh.interval.ms": 10_000,
    # A broker's reader asks for one answer at a time: what is resumed waits until the last one is there.
    "fetch.wait.max.ms": 100,
    # The client's default of a second, each time that its queue is full, would more than halve the speed.
    "fetch.queue.backoff.ms": 10,
    # Every record costs memory beside its bytes, which the bound in bytes does not count.
    "queued.min.messages": 10_000,
}


def queue_bytes(fetch_bytes: int) -> int:
    """How much the client holds ready: up to four polls' worth (1 to 16 MiB, or one where that is more)."""
    return max(fetch_bytes, min(max(4 * fetch_bytes, _LEAST_QUEUE_BYTES), _MOST_QUEUE_BYTES))


def consumer_config(options: KafkaOptions, group: str, health: ClientHealth, fetch_bytes: int) -> dict[str, Any]:
    """The options of the consumer; what the user set goes before the defaults.

    The queue is overshot by one answer of each broker: up to 1 MiB, which is compressed, and may be ten times as much.
    """
    owned: dict[str, OptionValue] = {"enable.partition.eof": False}
    if options.given.get("group.protocol", "classic").lower() == "classic":  # the consumer protocol has it no more
        owned["partition.assignment.strategy"] = "cooperative-sticky"
    sizes: dict[str, OptionValue] = {
        "queued.max.messages.kbytes": queue_bytes(fetch_bytes) // 1024,
        "fetch.max.bytes": max(_ANSWER_BYTES, int(options.given.get("message.max.bytes", 0))),
    }
    return options.consumer(group, health, defaults={**_DEFAULTS, **sizes}, owned=owned)
