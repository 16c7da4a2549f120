"""What a cluster's folder remembers of it: its id, and the ports of each node."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flowguard.domain.errors import ConfigurationError
from flowguard.entrypoints.dev import free_ports
from flowguard.entrypoints.dev.kafka_properties import CLIENTS, CONTROLLERS, HOST, Ports

_FILE = "cluster.json"


@dataclass(frozen=True, slots=True)
class Layout:
    """One cluster."""

    cluster_id: str
    ports: Ports

    @property
    def brokers(self) -> int:
        return len(self.ports[CLIENTS])

    @classmethod
    def new(cls, ports: Ports) -> Self:
        """A cluster that never was."""
        return cls(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="), ports)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """None where there is none. Raises ConfigurationError where the file is damaged."""
        file = folder / _FILE
        try:
            content = json.loads(file.read_text("utf-8"))
            ports = {
                name: {int(node): int(port) for node, port in one.items()} for name, one in content["ports"].items()
            }
            return cls(str(content["cluster_id"]), ports)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(f"{file} cannot be read ({error}): remove {folder}, with its data") from error

    def write(self, folder: Path) -> None:
        """Whole, or not at all."""
        draft = folder / f"{_FILE}.draft"
        draft.write_text(json.dumps({"cluster_id": self.cluster_id, "ports": self.ports}, indent=2) + "\n", "utf-8")
        draft.replace(folder / _FILE)


def choose_ports(brokers: int, before: Layout | None, first: int | None, listeners: Iterable[str]) -> Ports:
    """For clients from `first` on, else as before, else any free ones; of all other listeners as before where free.

    Raises ConfigurationError where a port for clients is taken.
    """
    nodes = range(1, brokers + 1)
    chosen: dict[str, dict[int, int]] = {}
    taken: set[int] = set()
    for listener in (CLIENTS, CONTROLLERS, *listeners):
        chosen[listener] = {}
        for node in nodes:
            asked = first + node - 1 if first and listener == CLIENTS else None
            port = asked or (before.ports.get(listener, {}).get(node) if before else None)
            if port is not None and listener == CLIENTS:
                free_ports.require_free(HOST, port)
            elif port is not None and not free_ports.is_free(HOST, port):
                port = None
            while port is None or port in taken:
                port = free_ports.some_free(HOST)
            taken.add(port)
            chosen[listener][node] = port
    return chosen
