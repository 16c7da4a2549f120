"""A cluster of Apache Kafka brokers on this machine: started, stopped, killed and started again, on a folder.

    with KafkaCluster(Path("data"), brokers=3) as cluster:
        cluster.start()
        print(cluster.url)          # kafka://127.0.0.1:23114,127.0.0.1:29510,127.0.0.1:20071
        cluster.kill(2)             # SIGKILL
        cluster.start_node(2)
        cluster.wait_ready()

The folder holds everything: `cluster.json` (cluster id and ports), and for each node `node-1/` its data, properties,
pid and log. A cluster that runs can be met from another process, by the same folder.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from flowguard.domain.errors import ConfigurationError, TransientError
from flowguard.entrypoints.dev import kafka_probe
from flowguard.entrypoints.dev.daemon import Daemon
from flowguard.entrypoints.dev.folder_lock import alone_in
from flowguard.entrypoints.dev.kafka_layout import Layout, choose_ports
from flowguard.entrypoints.dev.kafka_program import KafkaProgram, keep_archive
from flowguard.entrypoints.dev.kafka_properties import CLIENTS, HOST, node_properties

READY_S = 120.0
STOP_S = 15.0
_POLL_S = 0.05
_ASK_TIMEOUT_S = 5.0
_LOG_LINES = 8


class KafkaStartError(TransientError):
    """A broker ended, or did not answer in time. The text has the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Security:
    """What a cluster has beyond plain text: listeners named after their protocol, and what they need."""

    listeners: tuple[str, ...] = ()
    """`SASL_SSL`, `SSL`"""
    properties: Mapping[str, str] = field(default_factory=dict)
    format_arguments: tuple[str, ...] = ()
    java_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """One broker, which is also a controller. `pid` is None while it does not run."""

    id: int
    port: int
    pid: int | None

    @property
    def address(self) -> str:
        """Of its listener for clients, as host:port."""
        return f"{HOST}:{self.port}"


def _silent(_: str) -> None:
    pass


class KafkaCluster:
    """One or three nodes on a folder; what is there already decides how many, where `brokers` does not.

    `port` is the first of the ports for clients, the others follow; without it, the ports of the last time or any free
    ones. `properties` are added to those of every broker. `say` is told what takes long. Raises ConfigurationError
    where the folder holds a cluster of another size. One thread at a time.
    """

    def __init__(
        self,
        folder: Path,
        brokers: int | None = None,
        *,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        security: Security | None = None,
        say: Callable[[str], None] = _silent,
    ) -> None:
        self.folder = folder.absolute()
        self._port = port
        self._more = properties or {}
        self._security = security or Security()
        self._say = say
        self._program: KafkaProgram | None = None
        self._layout = Layout.read(self.folder)
        if self._layout is not None and brokers not in {None, self._layout.brokers}:
            raise ConfigurationError(
                f"{self.folder} holds a cluster of {self._layout.brokers}, which cannot become one of {brokers}:"
                " choose another --data-dir, or remove that folder"
            )
        self._brokers = self._layout.brokers if self._layout else brokers or 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> list[Node]:
        """Empty before the first start."""
        ports = self._layout.ports[CLIENTS] if self._layout else {}
        return [Node(node, port, self._daemon(node).pid) for node, port in ports.items()]

    @property
    def cluster_id(self) -> str:
        """As Kafka gives it to clients."""
        return self._made.cluster_id

    @property
    def bootstrap(self) -> str:
        """host:port of every broker."""
        return self.address(CLIENTS)

    @property
    def url(self) -> str:
        """For FLOWGUARD_LOG_URL."""
        return f"kafka://{self.bootstrap}"

    def address(self, listener: str) -> str:
        """host:port of every broker, for a listener of `security`."""
        return ",".join(f"{HOST}:{port}" for port in self._made.ports[listener].values())

    @property
    def ready(self) -> bool:
        """Whether every broker answers, sees all the others, and sees a leader for every partition."""
        layout = self._layout
        if layout is None:
            return False
        ports = layout.ports[CLIENTS]
        good = kafka_probe.View(layout.cluster_id, frozenset(ports), leaderless=0)
        return all(kafka_probe.ask(HOST, port, _ASK_TIMEOUT_S) == good for port in ports.values())

    # -- all of it ------------------------------------------------------------------------------------------------

    def start(self, deadline_s: float = READY_S) -> None:
        """Start what does not run, and wait until it is ready. Harmless when all of it runs.

        Raises KafkaUnavailableError where this machine cannot run Kafka, ConfigurationError where a port is taken, and
        KafkaStartError; what this call has started is stopped again then.
        """
        deadline = time.monotonic() + deadline_s
        with self._alone():
            if not any(node.pid for node in self.nodes):
                self._prepare()
            elif self._port not in {None, self.nodes[0].port}:
                raise ConfigurationError(f"{self.folder} holds a Kafka that runs, at port {self.nodes[0].port}")
            asleep = [node.id for node in self.nodes if node.pid is None]
            try:
                for node in asleep:
                    self.start_node(node)
                self.wait_ready(deadline - time.monotonic())
            except BaseException:
                for node in asleep:
                    self.kill(node)
                raise

    def stop(self, deadline_s: float = STOP_S) -> None:
        """Ask all to stop, and kill what has not within the time. The data stays."""
        with self._alone():
            running = [node.id for node in self.nodes if node.pid]
            for node in running:
                self.resume(node)  # one that is suspended would not hear the next signal
                self._daemon(node).send(signal.SIGTERM)
            deadline = time.monotonic() + deadline_s
            for node in running:
                # The last nodes of a quorum wait for a leader that will not come.
                if self._daemon(node).ended(deadline):
                    keep_archive(self._home(node))
                else:
                    self.kill(node)

    def wait_ready(self, deadline_s: float = READY_S) -> None:
        """Return when `ready`. Raises KafkaStartError as soon as a node has ended, or at the deadline."""
        deadline = time.monotonic() + deadline_s
        while not self.ready:
            late = time.monotonic() >= deadline
            for node in self.nodes:
                if late or node.pid is None:
                    daemon = self._daemon(node.id)
                    why = f"Kafka was not ready within {deadline_s:.0f} s" if late else f"broker {node.id} has ended"
                    raise KafkaStartError(f"{why}; the end of {daemon.log}:\n{daemon.last_lines(_LOG_LINES)}")
            time.sleep(_POLL_S)

    # -- one node -------------------------------------------------------------------------------------------------

    def start_node(self, node: int) -> None:
        """Start it on its own ports and data, and return at once. Harmless while it runs."""
        if self._daemon(node).pid is None:
            home = self._home(node)
            leave = home if node == 1 else None
            self._daemon(node).start(self._kafka.broker(_properties(home), self._security.java_options, leave))

    def stop_node(self, node: int, deadline_s: float = STOP_S) -> None:
        """Ask it to stop: it hands its partitions over first. Killed at the deadline."""
        self._daemon(node).send(signal.SIGTERM)
        if not self._daemon(node).ended(time.monotonic() + deadline_s):
            self.kill(node)

    def kill(self, node: int) -> None:
        """SIGKILL; returns when it is gone."""
        self._daemon(node).kill()

    def suspend(self, node: int) -> None:
        """SIGSTOP: it is there, and does not answer."""
        self._daemon(node).send(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """SIGCONT."""
        self._daemon(node).send(signal.SIGCONT)

    # -- how ------------------------------------------------------------------------------------------------------

    @property
    def _made(self) -> Layout:
        if self._layout is None:
            raise ConfigurationError(f"there is no Kafka in {self.folder} yet: start it first")
        return self._layout

    @property
    def _kafka(self) -> KafkaProgram:
        if self._program is None:
            self._program = KafkaProgram.find(self._say)
        return self._program

    def _prepare(self) -> None:
        """Nothing runs: choose the ports, write what the nodes read, and format what is new."""
        program, before = self._kafka, self._layout
        ports = choose_ports(self._brokers, before, self._port, self._security.listeners)
        layout = Layout(before.cluster_id, ports) if before else Layout.new(ports)
        homes = [self._home(node) for node in ports[CLIENTS]]
        for node, home in enumerate(homes, start=1):
            home.mkdir(parents=True, exist_ok=True)
            more = {**self._security.properties, **self._more}
            _properties(home).write_text(node_properties(node, ports, more), "utf-8")
        if before is None:
            program.format(homes, layout.cluster_id, self._security.format_arguments)
        layout.write(self.folder)
        self._layout = layout

    def _home(self, node: int) -> Path:
        return self.folder / f"node-{node}"

    def _daemon(self, node: int) -> Daemon:
        home = self._home(node)
        return Daemon(home, mark=str(_properties(home)))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One command at a time starts or stops the cluster of a folder: another one waits."""
        with alone_in(self.folder):
            self._layout = Layout.read(self.folder)
            yield


def _properties(home: Path) -> Path:
    return home / "server.properties"
