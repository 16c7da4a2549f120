"""The Java that runs Kafka: of JAVA_HOME, else of the PATH, and new enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from flowguard.entrypoints.dev.unavailable import KafkaUnavailableError

OLDEST = 17
_ASK_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Java:
    """A Java that works. `version` is all that it says of itself: another build has another text."""

    program: str
    version: str


def find_java() -> Java:
    """The first Java that is new enough. Raises KafkaUnavailableError where there is none."""
    too_old: list[str] = []
    for program in _candidates():
        text = _version_text(program)
        # Up to Java 8: 1.8.0_392; since then: 17.0.15, 21, 22-ea.
        if (match := re.search(r'version "(?:1\.)?(\d+)', text)) is None:
            continue
        if int(match[1]) >= OLDEST:
            return Java(program, text)
        too_old.append(f"{program} is Java {match[1]}")
    found = "; ".join(too_old) or "there is none in JAVA_HOME or on the PATH"
    raise KafkaUnavailableError(f"Apache Kafka needs Java {OLDEST} or newer, and {found}: install it")


def _candidates() -> list[str]:
    home = os.environ.get("JAVA_HOME")
    return list(filter(None, [home and shutil.which("java", path=str(Path(home) / "bin")), shutil.which("java")]))


def _version_text(program: str) -> str:
    """Empty where it does not run: some systems put a placeholder there that only asks to install Java."""
    try:
        done = subprocess.run(  # noqa: S603  # the user's own java
            [program, "-version"], capture_output=True, check=False, text=True, timeout=_ASK_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stderr + done.stdout if done.returncode == 0 else ""
