"""What a server's folder remembers of it: the port, and where its socket is."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flowguard.domain.errors import ConfigurationError
from flowguard.entrypoints.dev.daemon import Account

_FILE = "server.json"
_LONGEST_SOCKET = 103
"""Bytes of a path that every system takes for a socket: macOS 103, Linux 107."""


@dataclass(frozen=True, slots=True)
class Place:
    """Of one start."""

    port: int
    sockets: Path | None
    """A temporary folder; None where the socket is in the data folder."""

    @classmethod
    def new(cls, port: int, data: Path, account: Account | None) -> Self:
        """With a temporary folder where the path of the data is too long for a socket in it."""
        if len(os.fsencode(data / f".s.PGSQL.{port}")) <= _LONGEST_SOCKET:
            return cls(port, None)
        sockets = Path(tempfile.mkdtemp(prefix="flowguard-"))
        if account is not None:
            os.chown(sockets, account.user, account.group)
        return cls(port, sockets)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """None where there is none. Raises ConfigurationError where the file is damaged."""
        file = folder / _FILE
        try:
            content = json.loads(file.read_text("utf-8"))
            sockets = content["sockets"]
            return cls(int(content["port"]), None if sockets is None else Path(sockets))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{file} cannot be read ({error}): remove {folder}, with its data") from error

    def write(self, folder: Path) -> None:
        """Whole, or not at all."""
        draft = folder / f"{_FILE}.draft"
        sockets = None if self.sockets is None else str(self.sockets)
        draft.write_text(json.dumps({"port": self.port, "sockets": sockets}) + "\n", "utf-8")
        draft.replace(folder / _FILE)

    def clear(self) -> None:
        """The server does not run: remove the temporary folder."""
        if self.sockets is not None:
            shutil.rmtree(self.sockets, ignore_errors=True)
