"""What a broker of ours is told: a node that is controller and broker, on loopback, small, and replicated as it can."""

from __future__ import annotations

from collections.abc import Mapping

HOST = "127.0.0.1"
CLIENTS = "PLAINTEXT"
CONTROLLERS = "CONTROLLER"

Ports = Mapping[str, Mapping[int, int]]
"""By listener, then by node. `CLIENTS` is for clients and among brokers, `CONTROLLERS` for the quorum."""


DATA = "data"
"""The folder of a node's data, in the folder that it runs in: nothing in the path of that one needs to be escaped."""


def node_properties(node: int, ports: Ports, more: Mapping[str, str]) -> str:
    """The text of server.properties. A listener beyond the two is named after its security protocol."""
    nodes = ports[CLIENTS]
    replicas, in_sync = min(3, len(nodes)), 2 if len(nodes) >= 3 else 1  # noqa: PLR2004  # a majority of three
    listeners = {name: f"{name}://{HOST}:{of_node[node]}" for name, of_node in ports.items()}
    properties = {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": ",".join(f"{one}@{HOST}:{port}" for one, port in ports[CONTROLLERS].items()),
        "controller.listener.names": CONTROLLERS,
        "inter.broker.listener.name": CLIENTS,
        "listeners": ",".join(listeners.values()),
        "advertised.listeners": ",".join(url for name, url in listeners.items() if name != CONTROLLERS),
        "listener.security.protocol.map": ",".join(
            f"{name}:{CLIENTS if name == CONTROLLERS else name}" for name in listeners
        ),
        "log.dirs": DATA,
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 4,
        # Topics are made by `flowguard migrate`: a misspelt name is an error, not a new topic.
        "auto.create.topics.enable": "false",
        # The first member of a group starts at once, rather than after three seconds for others to come.
        "group.initial.rebalance.delay.ms": 0,
        # 128 MB of heap by default, for compacted topics of a size that nobody has at a desk.
        "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,
        **more,
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())
