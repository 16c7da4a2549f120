"""Which librdkafka options belong to one kind of client only, which have two names, and which are FlowGuard's own."""

from __future__ import annotations

from typing import Final

PREFERRED: Final = {
    "auto.commit.enable": "enable.auto.commit",
    "compression.codec": "compression.type",
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
    "log.level": "log_level",  # the one option that is spelled with an underscore
    "max.in.flight.requests.per.connection": "max.in.flight",
    "message.send.max.retries": "retries",
    "message.timeout.ms": "delivery.timeout.ms",
    "metadata.broker.list": "bootstrap.servers",
    "queue.buffering.max.ms": "linger.ms",
    "request.required.acks": "acks",
    "sasl.mechanisms": "sasl.mechanism",
}
"""Options that librdkafka knows by two names, and the name that FlowGuard uses throughout: one value can win then."""

PRODUCER_ONLY: Final = frozenset(
    {
        "acks",
        "batch.num.messages",
        "batch.size",
        "compression.level",
        "compression.type",
        "delivery.report.only.error",
        "delivery.timeout.ms",
        "enable.gapless.guarantee",
        "enable.idempotence",
        "linger.ms",
        "partitioner",
        "produce.offset.report",
        "queue.buffering.backpressure.threshold",
        "queue.buffering.max.kbytes",
        "queue.buffering.max.messages",
        "queuing.strategy",
        "request.timeout.ms",
        "retries",
        "sticky.partitioning.linger.ms",
        "transaction.timeout.ms",
        "transactional.id",
    }
)
"""A consumer is not given these: librdkafka would warn of each at every start."""

CONSUMER_ONLY: Final = frozenset(
    {
        "auto.commit.interval.ms",
        "auto.offset.reset",
        "check.crcs",
        "consume.callback.max.messages",
        "coordinator.query.interval.ms",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.partition.eof",
        "fetch.error.backoff.ms",
        "fetch.max.bytes",
        "fetch.min.bytes",
        "fetch.queue.backoff.ms",
        "fetch.wait.max.ms",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "group.protocol.type",
        "group.remote.assignor",
        "heartbeat.interval.ms",
        "isolation.level",
        "max.partition.fetch.bytes",
        "max.poll.interval.ms",
        "offset.store.method",
        "offset.store.path",
        "offset.store.sync.interval.ms",
        "partition.assignment.strategy",
        "queued.max.messages.kbytes",
        "queued.min.messages",
        "session.timeout.ms",
    }
)
"""A producer is not given these, nor is an AdminClient, which is a producer inside."""

_AFTER_LANDING: Final = "FlowGuard commits an offset when its rows have landed, never by a timer"
_RECEIPTS: Final = "an answer tells where each event is in the log"
_BOUNDED: Final = "FlowGuard bounds what waits, before it takes anything of a request"

RESERVED: Final[dict[str, tuple[frozenset[str], str]]] = {
    "acks": (frozenset({"all", "-1"}), "events are accepted when all in-sync replicas have them (acks=all)"),
    "allow.auto.create.topics": (frozenset({"false"}), "topics are made by `flowguard migrate`"),
    "auto.offset.reset": (
        frozenset(),
        "a first start reads from the earliest record; later on, an offset that is gone is told, never jumped over",
    ),
    "bootstrap.servers": (frozenset(), "name the brokers in the URL: FLOWGUARD_LOG_URL=kafka://host1:9092,host2:9092"),
    "delivery.report.only.error": (frozenset({"false"}), _RECEIPTS),
    "enable.auto.commit": (frozenset({"false"}), _AFTER_LANDING),
    "enable.auto.offset.store": (frozenset({"false"}), _AFTER_LANDING),
    "enable.idempotence": (frozenset({"true"}), "a retry inside the client must not log an event twice"),
    "enable.partition.eof": (frozenset(), "FlowGuard sets it where it looks for the end of a partition"),
    "group.id": (frozenset(), "it is the setting `group` (FLOWGUARD_GROUP)"),
    "isolation.level": (frozenset({"read_committed"}), "records of aborted transactions must not land"),
    "log.queue": (frozenset(), "librdkafka's log goes to the Python logger `flowguard.kafka`"),
    "produce.offset.report": (frozenset({"true"}), _RECEIPTS),
    "queue.buffering.max.kbytes": (frozenset(), _BOUNDED),
    "queue.buffering.max.messages": (frozenset(), _BOUNDED),
    "transactional.id": (frozenset(), "FlowGuard needs no transactions: what a retry logs twice lands once"),
}
"""Options that a user may set to these values only (none: not at all), and why."""
