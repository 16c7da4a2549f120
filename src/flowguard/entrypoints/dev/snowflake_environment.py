"""The Python environment of the stand-in for Snowflake: made once by pip, kept in the user's cache.

It is one of its own, for what the stand-in runs on does not import beside the connector that FlowGuard uses. What is in
it is held to `snowflake_standin/requirements.txt`, by hash, and its name to the hash of that file: a new release with
other requirements makes another.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from flowguard.domain.errors import ConfigurationError
from flowguard.entrypoints.dev.folder_lock import alone_in
from flowguard.entrypoints.dev.unavailable import SnowflakeUnavailableError

STAND_IN = Path(__file__).with_name("snowflake_standin")
"""A folder that Python runs."""
REQUIREMENTS = STAND_IN / "requirements.txt"

_MAKE_TIMEOUT_S = 900.0
_BIN = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")


def environment_folder() -> Path:
    """Where it is kept, for this release and this Python."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Path(cache) / "flowguard" / f"snowflake-standin-{digest}-py{version}"


def find_python(say: Callable[[str], None]) -> Path:
    """Its interpreter; `say` is told before the environment is made, which takes a while.

    Raises SnowflakeUnavailableError where it cannot be made.
    """
    folder = environment_folder()
    python = folder.joinpath(*_BIN)
    if not python.exists():
        try:
            with alone_in(folder.parent):
                if not python.exists():  # nobody else has made it meanwhile
                    say(f"installing what the stand-in for Snowflake runs on with pip, once, into {folder}")
                    _make(folder)
        except (ConfigurationError, OSError) as error:
            if isinstance(error, SnowflakeUnavailableError):
                raise
            raise SnowflakeUnavailableError(f"{folder} cannot be made: {error}") from error
    return python


def _make(folder: Path) -> None:
    """Under another name first: what is under its own is whole."""
    if folder.exists():  # its interpreter is gone, with the Python that it was made from
        folder.replace(Path(tempfile.mkdtemp(dir=folder.parent, prefix="outdated-")) / folder.name)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="make-") as name:
        fresh = Path(name) / folder.name
        _run("venv", [sys.executable, "-m", "venv", str(fresh)])
        pip = [str(fresh.joinpath(*_BIN)), "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]
        _run("pip", [*pip, "--retries", "2", "install", "--require-hashes", "-r", str(REQUIREMENTS)])
        fresh.replace(folder)


def _run(what: str, command: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603  # our own Python, with the user's settings and mirrors of pip
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True, timeout=_MAKE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise SnowflakeUnavailableError(f"{what} took more than {_MAKE_TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no reason given")
        raise SnowflakeUnavailableError(
            f"{what} could not make the environment of the stand-in for Snowflake: {reason[:300]}"
        )
