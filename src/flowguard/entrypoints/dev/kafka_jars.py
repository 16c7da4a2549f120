"""Kafka's own jars: fetched once by the user's Maven, kept in the user's cache, each held to the lock file.

`kafka_jars.json` names every jar of the release's run-time set, plus the logger that writes the broker's log, with
their SHA-256. `FLOWGUARD_KAFKA_JARS` names a folder of jars to use as they are instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowguard.domain.errors import ConfigurationError
from flowguard.entrypoints.dev.folder_lock import alone_in
from flowguard.entrypoints.dev.unavailable import KafkaUnavailableError

OWN_JARS = "FLOWGUARD_KAFKA_JARS"
_FETCH_TIMEOUT_S = 900.0
_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class JarLock:
    """What has to be there."""

    kafka: str
    artifacts: tuple[str, ...]
    """group:artifact:version; Maven finds out what else they need."""
    sha256: Mapping[str, str]
    """By file name: all of them."""


def read_lock() -> JarLock:
    """The lock that this release of FlowGuard came with."""
    content = json.loads(Path(__file__).with_name("kafka_jars.json").read_text("utf-8"))
    return JarLock(content["kafka"], tuple(content["artifacts"]), content["sha256"])


def cache_folder(lock: JarLock) -> Path:
    """Where jars, and what is derived from them, are kept for the next time."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "flowguard" / f"kafka-{lock.kafka}"


def find_jars(lock: JarLock, say: Callable[[str], None]) -> list[Path]:
    """The jars, in the order of the class path; `say` is told before something is fetched, which takes a while.

    Raises KafkaUnavailableError where one cannot be had, or is not the one of the lock.
    """
    if own := os.environ.get(OWN_JARS):
        jars = sorted(Path(own).absolute().glob("*.jar"))
        if not any(jar.name.startswith("kafka_2") for jar in jars):
            raise KafkaUnavailableError(
                f"{OWN_JARS}={own} holds no jar of Apache Kafka's server (kafka_2.13-VERSION.jar)"
            )
        return jars
    folder = cache_folder(lock)
    if not _all_there(lock, folder):
        _fetch(lock, folder, say)
    _verify(folder, lock)
    return [folder / name for name in sorted(lock.sha256)]


def _all_there(lock: JarLock, folder: Path) -> bool:
    return all((folder / name).is_file() for name in lock.sha256)


def _verify(folder: Path, lock: JarLock) -> None:
    for name, expected in sorted(lock.sha256.items()):
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise KafkaUnavailableError(f"{folder / name} cannot be read: {error.strerror}") from error
        if found != expected:
            raise KafkaUnavailableError(
                f"{folder / name} is not the jar of the lock (SHA-256 {found[:12]}…, expected {expected[:12]}…):"
                " remove it to have it fetched again"
            )


def _fetch(lock: JarLock, folder: Path, say: Callable[[str], None]) -> None:
    """Into a folder of its own first: what is under its final name is whole, and the right one."""
    mvn = shutil.which("mvn")
    if mvn is None:
        raise KafkaUnavailableError(
            f"the jars of Apache Kafka {lock.kafka} are not in {folder}, and there is no mvn (Apache Maven) on the PATH"
            f" to fetch them: install it, or name a folder of jars by {OWN_JARS}"
        )
    try:
        with alone_in(folder.parent):  # two Mavens at a time would also meet in Maven's own cache
            if _all_there(lock, folder):
                return
            say(f"fetching the {len(lock.sha256)} jars of Apache Kafka {lock.kafka} with mvn, once, into {folder}")
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix="fetch-") as name:
                fresh = Path(name)
                _run_maven(mvn, lock, fresh)
                _verify(fresh, lock)
                for jar in lock.sha256:
                    (fresh / jar).replace(folder / jar)
    except KafkaUnavailableError:
        raise
    except ConfigurationError as error:
        raise KafkaUnavailableError(str(error)) from error
    except OSError as error:
        raise KafkaUnavailableError(f"{folder} cannot be written: {error.strerror}") from error


def _run_maven(mvn: str, lock: JarLock, into: Path) -> None:
    (into / "pom.xml").write_text(_pom(lock.artifacts), "utf-8")
    command = [mvn, "-q", "-B", "-Dstyle.color=never", "-f", str(into / "pom.xml"), _GOAL]
    try:
        done = subprocess.run(  # noqa: S603  # the user's own Maven, with its settings and mirrors
            [*command, f"-DoutputDirectory={into}", "-DincludeScope=runtime"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=_FETCH_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise KafkaUnavailableError(f"mvn did not fetch the jars within {_FETCH_TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        lines = [line.strip() for line in _COLOUR.sub("", done.stdout + done.stderr).splitlines()]
        reason = next((line for line in lines if line.startswith("[ERROR]")), f"exit code {done.returncode}")
        raise KafkaUnavailableError(f"mvn could not fetch the jars of Apache Kafka {lock.kafka}: {reason[:300]}")


def _pom(artifacts: Iterable[str]) -> str:
    def dependency(artifact: str) -> str:
        group, name, version = artifact.split(":")
        parts = f"<groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>"
        return f"<dependency>{parts}</dependency>"

    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>flowguard</groupId><artifactId>kafka</artifactId><version>1</version>"
        f"<dependencies>{''.join(map(dependency, artifacts))}</dependencies></project>\n"
    )
