"""Kafka as a program: the Java, the jars, and how they are called.

Java spends most of a broker's start on loading classes. So the first broker that ends in an orderly way leaves an
archive of them (class data sharing), which is kept beside the jars and halves every later start.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flowguard.domain.errors import ConfigurationError
from flowguard.entrypoints.dev.java import Java, find_java
from flowguard.entrypoints.dev.kafka_jars import cache_folder, find_jars, read_lock
from flowguard.entrypoints.dev.kafka_properties import DATA

_FORMAT_TIMEOUT_S = 120.0
_ARCHIVE = "classes-"


@dataclass(frozen=True, slots=True)
class KafkaProgram:
    """Made by `find`."""

    java: Java
    class_path: str
    archive: Path
    """Where the archive of this Java and these jars is kept."""

    @classmethod
    def find(cls, say: Callable[[str], None]) -> Self:
        """Raises KafkaUnavailableError where something is missing."""
        java, lock = find_java(), read_lock()
        class_path = os.pathsep.join(map(str, find_jars(lock, say)))
        key = hashlib.sha256(f"{java.version}\n{class_path}".encode()).hexdigest()[:16]
        return cls(java, class_path, cache_folder(lock) / f"{_ARCHIVE}{key}.jsa")

    def broker(self, properties: Path, java_options: Sequence[str], leave_archive_in: Path | None) -> list[str]:
        """The command of a broker; an archive that is not there yet is left in that folder when it ends."""
        heap = ["-Xms64m", "-Xmx192m", "-XX:+UseSerialGC", "-XX:ReservedCodeCacheSize=64m"]
        log = [
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss,SSS",
        ]
        archive = []
        if leave_archive_in is not None and not self.archive.exists():
            # Without a warning for each of a thousand classes that do not suit the archive.
            quiet = ["-Xlog:disable", "-Xlog:all=error:stderr"]
            archive = [f"-XX:ArchiveClassesAtExit={leave_archive_in / self.archive.name}", *quiet]
        return [*self._java(), *archive, *heap, *log, *java_options, "kafka.Kafka", str(properties)]

    def format(self, homes: Sequence[Path], cluster_id: str, arguments: Sequence[str]) -> None:
        """Make the nodes' folders ones of this cluster. Raises ConfigurationError where Kafka refuses."""
        first, *others = homes
        shutil.rmtree(first / DATA, ignore_errors=True)  # left by a start that was broken off
        config = str(first / "server.properties")
        quick = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        storage = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "--config", config]
        done = subprocess.run(  # noqa: S603  # our own command
            [*self._java(), *quick, *storage, *arguments],
            cwd=first,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=_FORMAT_TIMEOUT_S,
        )
        if done.returncode != 0:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line and not line.startswith("\t")]
            raise ConfigurationError(f"Kafka could not format {first}: {' '.join(lines[-1:])}")
        # The others get what the tool has written for the first: another Java for each would only take longer.
        for at, home in enumerate(others, start=2):
            shutil.rmtree(home / DATA, ignore_errors=True)
            shutil.copytree(first / DATA, home / DATA)
            _rename_node(home / DATA / "meta.properties", at)

    def _java(self) -> list[str]:
        share = [f"-XX:SharedArchiveFile={self.archive}"] if self.archive.exists() else []
        return [self.java.program, *share, "-cp", self.class_path]


def keep_archive(home: Path) -> None:
    """Take over the archive that a broker has left there, if it did."""
    cache = cache_folder(read_lock())
    for left in home.glob(f"{_ARCHIVE}*.jsa"):
        if not (cache / left.name).exists():
            cache.mkdir(parents=True, exist_ok=True)
            draft = cache / f"{left.name}.{os.getpid()}"
            shutil.copy(left, draft)
            draft.replace(cache / left.name)
        left.unlink()


def _rename_node(meta: Path, node: int) -> None:
    directory = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    own = {"node.id": str(node), "directory.id": directory}
    lines = [line.partition("=") for line in meta.read_text("utf-8").splitlines()]
    meta.write_text("".join(f"{key}{sign}{own.get(key, value)}\n" for key, sign, value in lines), "utf-8")
